"""One candidate, finished by Ray Tune: a trial is a member, and a killed one costs no more than its last epochs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.connection import ClusterSettings
from workers.finish.leg import Finishing
from workers.finish.methods import Method
from workers.process import driver_paths

# Read when Tune is imported or an experiment starts.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # five files a trial that nobody reads
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # who interrupts a search means the search
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def tune_members(
    finishing: Finishing,
    method: Method,
    scores: dict[tuple[int, int], float],
    inputs: Sequence[Any],
    cluster: ClusterSettings,
    seconds: float,
) -> tuple[str, str]:
    """Run all legs that have no score yet; ``scores`` are complete when it returns, unless time or members ran out.

    Args:
        inputs: references to what :func:`workers.jobs.make_bench` takes.
        seconds: most that it may take.

    Returns:
        Should legs be left: the reason, as in :class:`workers.evaluation.Outcome`, and a message.
    """
    started = time.monotonic()
    storage = finishing.tune
    with _environment(), _empty(storage):
        from ray import tune

        from workers.finish.scheduler import LegScheduler
        from workers.finish.trial import MEMBER, Member

        trainable = tune.with_parameters(
            Member,
            paths=driver_paths(),
            threads=cluster.threads,
            deterministic=cluster.deterministic,
            inputs=list(inputs),
            finishing=finishing,
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": cluster.threads, "gpu": cluster.gpus_per_worker or 0.0}),
            param_space={MEMBER: tune.grid_search(list(range(method.members)))},
            tune_config=tune.TuneConfig(
                scheduler=LegScheduler(method, scores),
                reuse_actors=True,
                time_budget_s=seconds,
            ),
            run_config=tune.RunConfig(
                # Nothing is ever restored from what Tune stores: its pickles are written, and removed unread.
                name=f"{os.getpid()}-{time.time_ns()}",
                storage_path=str(storage.absolute()),
                failure_config=tune.FailureConfig(max_failures=cluster.retries),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except Exception as error:
            # Its loop can break in many ways when processes die under it, and what is over is on disk.
            return "worker_lost", f"Ray Tune broke off: {type(error).__name__}: {' '.join(str(error).split())}"[:500]
    if time.monotonic() - started >= seconds:
        return "timeout", f"stopped after its limit of {seconds:g} s"
    return "worker_lost", "a process of its members died too often"


@contextmanager
def _empty(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
