"""What the driver pays for an evaluation as a search grows: 10,000 simulated workers, real plan, engine and archive.

    python benchmarks/scale.py [--evaluations 10000 100000 1000000] [--workers 10000] [--strategy evolution]
                               [--trainings 0.001] [--guided] [--out FOLDER] [--profile]

Workers are those of :mod:`workers.simulation` (log-normal durations, 2% lost workers, virtual time); everything else is
what a run does: the plan with its strategy and promotions, the reorder buffer, the archive with its fsyncs, and with
``--guided`` the surrogate. ``--strategy none`` asks for ready genomes in turn, so that engine and archive are left. An
evaluation is an accuracy computed from the genome. Published for each size, in a process of its own: milliseconds of
CPU and by the clock per evaluation over all, of CPU over the first and over the last tenth; CPU of the simulation and
its evaluations, which is no driver's work and in none of the other columns of CPU; resident memory at its peak; and a
digest of the archive but for its wall-clock columns, by which two versions are compared. Archives lie in a temporary
folder of the current directory, or in ``--out`` (where that is memory, an fsync costs nothing).
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import multiprocessing
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from determinism import LOSSES, MEAN, SIGMA, Pooled, make_space, search_alone
from rich.console import Console
from rich.table import Table

from search.archive import Archive, read_rows
from search.engine import Plan, run_engine
from search.plan import SearchPlan
from search.schema import WALL_CLOCK_COLUMNS
from search.surrogate.guided import Guidance, picks_for
from search.window import default_window
from workers.evaluation import Evaluation, Outcome, Request
from workers.simulation import SimulatedCluster, lognormal_durations

POPULATION = 40
ROUNDS = 10


class Measured(SimulatedCluster):
    """A simulated cluster that knows the CPU seconds that it took itself."""

    cpu = 0.0

    def submit(self, request: Request) -> None:
        began = time.process_time()
        super().submit(request)
        self.cpu += time.process_time() - began

    def wait(self) -> list[Outcome]:
        began = time.process_time()
        outcomes = super().wait()
        self.cpu += time.process_time() - began
        return outcomes


def evaluate(request: Request) -> Mapping[str, float]:
    """Error falls with kept widths, each group by its own importance."""
    keep = [share * request.genome.width for share in request.genome.keep]
    importance = [0.8**i for i in range(len(keep))]
    error = sum(w * (1 - k) ** 2 for w, k in zip(importance, keep, strict=True)) / sum(importance)
    params = int(1e6 * sum(keep) / len(keep))
    return {"accuracy": 1 - error, "refit_accuracy": 1 - error, "params": params, "violation": 0.0, "epochs": 0}


@dataclass(frozen=True)
class Course:
    """A simulated search.

    Attributes:
        clock: seconds since the start at every hundredth part of the commits.
        cpu: CPU seconds of the process, likewise; without the simulation's.
        simulation: CPU seconds of the simulation.
        memory: resident at its peak, bytes.
        digest: of the archive.
    """

    clock: np.ndarray
    cpu: np.ndarray
    simulation: float
    memory: int
    digest: str


def drive(options: argparse.Namespace, evaluations: int) -> Course:
    """One search of so many evaluations."""
    trainings = int(evaluations * options.trainings)
    settings = search_alone(options.strategy, evaluations - trainings, trainings, ROUNDS, POPULATION)
    window = default_window(options.workers, evaluations)
    guidance = Guidance(images=1000, picks=picks_for(window)) if options.guided else None
    plan: Plan = Pooled(evaluations)
    if options.strategy != "none":
        plan = SearchPlan(make_space(), settings, base_accuracy=1.0, seed=0, guidance=guidance, window=window)
    free = lognormal_durations(SIGMA, MEAN, 0)
    cluster = Measured(options.workers, evaluate, lambda r, a: min(free(r, a), 10 * MEAN), LOSSES)
    marks: list[tuple[float, float]] = []
    part = max(1, evaluations // 100)
    count = 0

    def committed(evaluation: Evaluation, under_way: int) -> None:
        nonlocal count
        count += 1
        if count % part == 0:
            marks.append((time.perf_counter(), time.process_time() - cluster.cpu))
            if len(marks) % 10 == 0:
                resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
                each = 1e3 * (marks[-1][1] - began_cpu) / count
                print(f"{count:,} of {evaluations:,}: {each:.3f} ms CPU each, {resident:,.0f} MB", file=sys.stderr)

    with tempfile.TemporaryDirectory(dir=options.out or Path.cwd(), prefix="scale-") as folder:
        archive = Archive(Path(folder))
        began, began_cpu = time.perf_counter(), time.process_time()
        run_engine(plan, cluster, archive, window, progress=committed)
        archive.close()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        assert count == evaluations == len(archive)
        clock, cpu = np.array(marks).T
        return Course(clock - began, cpu - began_cpu, cluster.cpu, memory, digest(Path(folder)))


def digest(folder: Path) -> str:
    """SHA-256 of all rows of an archive but for their wall-clock columns."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("part-*.parquet")):
        found.update(repr(read_rows(path).drop_columns(list(WALL_CLOCK_COLUMNS)).to_pylist()).encode())
    return found.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--strategy", default="evolution")
    parser.add_argument("--trainings", type=float, default=0.001, help="share of the evaluations")
    parser.add_argument("--guided", action="store_true", help="let the surrogate steer")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--profile", action="store_true", help="print the costliest functions; slows it down")
    options = parser.parse_args()
    console = Console(width=150)
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(drive, options, options.evaluations[0])
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    guided = ", guided" if options.guided else ""
    table = Table(title=f"{options.workers:,} simulated workers, {options.strategy}{guided}: the driver per evaluation")
    for name in ("evaluations", "CPU ms", "first tenth", "last tenth", "clock ms", "simulation ms", "MB", "archive"):
        table.add_column(name, justify="right")
    context = multiprocessing.get_context("spawn")
    for count in options.evaluations:
        with context.Pool(1) as pool:
            course = pool.apply(drive, (options, count))
        tenth = len(course.cpu) // 10
        table.add_row(
            f"{count:,}",
            f"{1e3 * course.cpu[-1] / count:.3f}",
            f"{1e3 * course.cpu[tenth - 1] / (count / 10):.3f}",
            f"{1e3 * (course.cpu[-1] - course.cpu[-tenth - 1]) / (count / 10):.3f}",
            f"{1e3 * course.clock[-1] / count:.3f}",
            f"{1e3 * course.simulation / count:.3f}",
            f"{course.memory / 1e6:,.0f}",
            course.digest,
        )
        console.print(f"{count:,}: {1e3 * course.cpu[-1] / count:.3f} ms, {course.memory / 1e6:,.0f} MB")
    console.print(table)


if __name__ == "__main__":
    main()
