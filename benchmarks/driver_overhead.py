"""What the driver adds to each evaluation: real Ray workers, engine, plan, evolution and archive, nothing to evaluate.

    python benchmarks/driver_overhead.py [--evaluations 10000] [--workers 2] [--work 0] [--out FOLDER]
                                         [--profile] [--quick]

A worker answers at once with an accuracy computed from the genome, so all of the time is overhead: Ray's calls,
selection, breeding, the archive's fsyncs and, at the end of every tenth of the run, promotion. One evaluation in a
hundred is a training (as empty as the others). Published: milliseconds per evaluation of the whole run, of its first
and of its last tenth, and the driver's resident memory after a tenth, a half and all of it.

``--work 0.1`` makes each evaluation sleep so many seconds, and publishes the workers' utilisation: the share of their
time, from the first evaluation to the last submission, that they spent in evaluations. Ray is told of as many cores as
there are workers, so that 32 of them can sleep on two.

``--profile`` prints the driver's costliest functions, and slows it down. ``--quick`` makes 1,000 evaluations. ``--out``
keeps the archive there; without it, it lies in a temporary folder of the current directory (where that is memory, an
fsync costs nothing).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from determinism import make_space, search_alone
from rich.console import Console
from rich.table import Table

from search.archive import Archive
from search.engine import run_engine
from search.plan import SearchPlan
from search.window import default_window
from workers.cluster import ClusterSettings, RayCluster
from workers.evaluation import OK, Evaluation, Outcome, Request

POPULATION = 40
ROUNDS = 10


def no_op(work: float) -> Callable[[Request], Outcome]:
    """A job that measures nothing and sleeps ``work`` seconds: error falls with kept widths, by groups' importance."""

    def run(request: Request) -> Outcome:
        time.sleep(work)
        keep = np.array(request.genome.keep) * request.genome.width
        importance = 0.8 ** np.arange(len(keep))
        error = float((importance * (1 - keep) ** 2).sum() / importance.sum())
        metrics = {"accuracy": 1 - error, "params": int(1e6 * keep.mean()), "violation": 0.0, "epochs": 0}
        return Outcome(request.number, OK, metrics=metrics, embedding=(error,) * 8, seconds=work)

    return run


def drive(folder: Path, workers: int, evaluations: int, work: float) -> tuple[np.ndarray, np.ndarray, dict[int, float]]:
    """Seconds since the start at every commit, by the clock and of the driver's CPU; its resident MB after some."""
    trainings = evaluations // 100
    settings = search_alone("evolution", evaluations - trainings, trainings, ROUNDS, POPULATION)
    window = default_window(workers, evaluations)
    plan = SearchPlan(make_space(), settings, base_accuracy=1.0, seed=0, window=window)
    cluster = RayCluster(ClusterSettings(workers=workers), lambda _: 60.0)
    driver = psutil.Process()
    moments: list[float] = []
    cpu: list[float] = []
    memory: dict[int, float] = {}
    marks = {evaluations // 10, evaluations // 2, evaluations}

    def committed(evaluation: Evaluation, under_way: int) -> None:
        moments.append(time.perf_counter())
        cpu.append(time.process_time())
        if len(moments) in marks:
            memory[len(moments)] = driver.memory_info().rss / 1e6

    try:
        cluster.use(no_op, work)
        while cluster.idle() < workers:
            cluster.wait()
        archive = Archive(folder)
        began, began_cpu = time.perf_counter(), time.process_time()
        run_engine(plan, cluster, archive, window, progress=committed)
        archive.close()
    finally:
        cluster.close()
    assert len(moments) == evaluations == archive.table().num_rows
    return np.array(moments) - began, np.array(cpu) - began_cpu, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=float, default=0.0, help="seconds that an evaluation sleeps")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    count = 1000 if options.quick else options.evaluations
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory(dir=options.out or Path.cwd(), prefix="driver-overhead-") as folder:
        if options.profile:
            profile.enable()
        moments, cpu, memory = drive(options.out or Path(folder), options.workers, count, options.work)
        profile.disable()
    print_tables(moments, cpu, memory, options.workers)
    if options.work:
        # Without the drain at the end, when the last evaluations leave some workers nothing to do.
        steady = count - options.workers
        busy = steady * options.work / (options.workers * moments[steady - 1])
        print(f"{options.workers} workers, {options.work:g} s of work each: utilisation {busy:.3f}")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def print_tables(moments: np.ndarray, cpu: np.ndarray, memory: dict[int, float], workers: int) -> None:
    """Milliseconds per evaluation, and memory."""
    count, part = len(moments), len(moments) // 10
    table = Table(title=f"{count:,} evaluations for nothing on {workers} workers: ms per evaluation", min_width=90)
    table.add_column("")
    for name in ("overall", f"first {part:,}", f"last {part:,}", "last / first"):
        table.add_column(name, justify="right")
    for name, seconds in (("by the clock", moments), ("CPU of the driver", cpu)):
        first, last = 1e3 * seconds[part - 1] / part, 1e3 * (seconds[-1] - seconds[-part - 1]) / part
        overall = 1e3 * seconds[-1] / count
        table.add_row(name, f"{overall:.2f}", f"{first:.2f}", f"{last:.2f}", f"{last / first:.2f}")
    resident = Table(title="resident memory of the driver (MB) after so many evaluations", min_width=60)
    for at in memory:
        resident.add_column(f"{at:,}", justify="right")
    resident.add_row(*(f"{megabytes:.0f}" for megabytes in memory.values()))
    console = Console(width=120)
    console.print(table, resident)


if __name__ == "__main__":
    main()
