"""What MLflow costs a search: the same search with and without it, in pairs, and the ratio of their times.

    python benchmarks/tracking_cost.py [--pairs 10] [--trainings 40] [--seconds 0.2] [--workers 8] [--uri URI]
                                       [--drain 600]

Workers are simulated and their evaluations take fixed time by the clock, as on machines of their own, so that what
differs is the driver's: plan, engine, archive, and the thread that projects into MLflow. ``--uri`` is
MLflow's (a server, PostgreSQL; default SQLite beside the archive). Half of the evaluations are trainings, each of which
becomes a run. Each search runs in a process of its own, and pairs take turns at who goes first. Published: the ratio of
times by the clock from the first evaluation to the last commit, and of the CPU seconds of the driver's thread in that
time, each as the median over the pairs with its 90% bootstrap interval; what was still to be logged at the last commit,
and how long that took (``--drain`` seconds at most). An interval that holds 1 says that no difference was found.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from determinism import make_space, search_alone
from rich.console import Console
from rich.table import Table
from scale import evaluate

from search.archive import Archive
from search.engine import run_engine
from search.plan import SearchPlan
from search.run_tracking import NoTracker
from search.tracking import BackgroundTracker, Tracker, find_store
from workers.evaluation import Evaluation, Outcome
from workers.simulation import SimulatedCluster

WINDOW = 32


@dataclass(frozen=True)
class Times:
    """Of one search: clock and CPU of the driver's thread in seconds, evaluations left to log, seconds for those."""

    clock: float
    cpu: float
    left: int
    after: float


class Paced(SimulatedCluster):
    """A simulated cluster whose evaluations take time by the clock: that of all workers, at once."""

    seconds = 0.0

    def wait(self) -> list[Outcome]:
        before = self.now
        outcomes = super().wait()
        time.sleep(self.seconds * (self.now - before))
        return outcomes


def search(options: argparse.Namespace, tracked: bool) -> Times:
    """One search."""
    settings = search_alone("evolution", options.trainings, options.trainings, 4, 20)
    plan = SearchPlan(make_space(), settings, base_accuracy=1.0, seed=0)
    cluster = Paced(options.workers, evaluate, lambda request, attempt: 1.0 + request.number % 7 / 7)
    cluster.seconds = options.seconds
    with tempfile.TemporaryDirectory(prefix="tracking-cost-") as name:
        tracker: BackgroundTracker | NoTracker = NoTracker()
        if tracked:
            store = find_store(Path(name) / "runs", options.uri)
            identity = uuid.uuid4().hex
            projector = Tracker(store, "tracking-cost", identity, identity[:6], {})
            projector.prepare()  # as a run does while its base network is trained
            tracker = BackgroundTracker(projector, print)
        archive = Archive(Path(name) / "archive")

        def committed(evaluation: Evaluation, under_way: int) -> None:
            tracker.add(evaluation)

        began, began_cpu = time.perf_counter(), time.thread_time()
        run_engine(plan, cluster, archive, WINDOW, progress=committed)
        clock, cpu = time.perf_counter() - began, time.thread_time() - began_cpu
        left = tracker.close(0.0)
        tracker.close(options.drain)
        archive.close()
        return Times(clock, cpu, left, time.perf_counter() - began - clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--trainings", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.2, help="that the shortest evaluation takes")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--uri", help="of MLflow")
    parser.add_argument("--drain", type=float, default=600.0, help="seconds to wait for what is left")
    options = parser.parse_args()
    pairs: list[tuple[Times, Times]] = []
    for pair in range(options.pairs):
        found = {tracked: _alone(options, tracked) for tracked in ((True, False) if pair % 2 else (False, True))}
        pairs.append((found[True], found[False]))
        print(f"pair {pair + 1}: {found[True].clock:.2f} s with MLflow, {found[False].clock:.2f} s without", flush=True)
    table = Table(
        title=f"{2 * options.trainings} evaluations, {options.trainings} trainings logged, {len(pairs)} pairs"
    )
    for name in ("", "with MLflow", "without", "ratio (90% interval)"):
        table.add_column(name)
    for name, field in (("seconds of the search", "clock"), ("CPU seconds of the driver's thread", "cpu")):
        values = np.array([[getattr(one, field) for one in pair] for pair in pairs])
        table.add_row(name, *(f"{v:.2f}" for v in np.median(values, axis=0)), _interval(values[:, 0] / values[:, 1]))
    table.add_row("left to log at the last commit", f"{np.median([one.left for one, _ in pairs]):.0f}", "", "")
    table.add_row("seconds until that was logged", f"{np.median([one.after for one, _ in pairs]):.2f}", "", "")
    Console(width=110).print(table)


def _alone(options: argparse.Namespace, tracked: bool) -> Times:
    # Forked, so that a search finds all modules there but MLflow, as a run does that has prepared its base network.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(search, (options, tracked))


def _interval(ratios: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [5, 95])
    return f"{np.median(ratios):.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
