"""A driver on simulated workers, as a process: plan, engine, archive and projection into MLflow are the product's own.

    python tracked_driver.py CONFIG SECONDS

``SECONDS`` by the clock go by for each evaluation, and no more of them end than the file ``gate`` beside CONFIG says.
Started again on the same configuration it goes on where it was.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tiny_space import evaluate, tiny_space

from search.archive import Archive
from search.drive import plan_settings
from search.engine import run_engine
from search.folder import RunFolder
from search.live import Terminal
from search.loading import load_config
from search.plan import SearchPlan
from search.run_tracking import background_tracker, project_all
from search.tracking import TrackingError
from workers.evaluation import Evaluation, Outcome
from workers.simulation import SimulatedCluster, lognormal_durations

WINDOW = 16


class Paced(SimulatedCluster):
    """A simulated cluster whose evaluations take time by the clock."""

    seconds = 0.0
    ended = 0
    gate = Path()

    def wait(self) -> list[Outcome]:
        while self.ended >= int(self.gate.read_text()):
            time.sleep(0.1)
        outcomes = super().wait()
        time.sleep(self.seconds * len(outcomes))
        self.ended += len(outcomes)
        return outcomes


def main(config_file: Path, seconds: float) -> None:
    config, view = load_config(config_file), Terminal()
    folder, space = RunFolder(config.folder), tiny_space()
    record = folder.start(config, space.hash, WINDOW)
    plan = SearchPlan(space, plan_settings(config), base_accuracy=1.0, seed=config.seed)
    cluster = Paced(8, lambda request: evaluate(space, request.genome), lognormal_durations(0.5, 60.0, config.seed))
    cluster.seconds, cluster.gate = seconds, config_file.with_name("gate")
    with folder.locked():
        archive = Archive(folder.archive)
        tracker = background_tracker(config, record, view)
        past = list(archive.evaluations())
        cluster.ended = len(past)
        for evaluation in past:
            tracker.add(evaluation)

        def committed(evaluation: Evaluation, under_way: int) -> None:
            tracker.add(evaluation)

        began = time.monotonic()
        run_engine(plan, cluster, archive, WINDOW, past=past, progress=committed)
        print(f"searched {time.monotonic() - began:.3f}", flush=True)
        left = tracker.close(deadline_s=60.0)
        print(f"left {left}", flush=True)
        try:
            if config.tracking.enabled:
                project_all(config, record, archive.evaluations(), {"hypervolume": 0.5})
        except TrackingError as error:
            view.warn(str(error))
        archive.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
