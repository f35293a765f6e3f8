"""What the reorder buffer costs: workers left idle, and hypervolume against free and generational evolution.

    python benchmarks/determinism.py [--quick] [--only utilisation|hypervolume|day] [--workers 16 …] [--seeds 10]

On a simulated cluster with log-normal durations (mean 60 virtual seconds) and 2% lost workers. The problem is
synthetic, over a real search space: its numbers compare ways to drive a search, not search spaces.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import wilcoxon

from search.engine import run_engine
from search.front import Point, front_indices, hypervolume, normalised
from search.strategies import make_strategy
from spaces.genome import Genome
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import PROBE, Evaluation, Request
from workers.simulation import SimulatedCluster, lognormal_durations

MEAN = 60.0
SIGMA = 1.0
LOSSES = 0.02
RETRIES = 2
MULTIPLES = (1, 2, 4, 8, 16, 32)
WAYS = ("free", "generational", *map(str, MULTIPLES), "random")
POPULATION = 40
NOISE = 0.005


def make_space() -> Space:
    """The groups of a small Inception network, three criteria in two clusters, no budget."""
    arguments = {"stem": 16, "widths": [32, 48, 64], "modules": [1, 1, 1]}
    network = build_network(NetworkSpec("inception", (1, 8, 8), 10, arguments))
    layout = make_layout(network, torch.zeros(2, 1, 8, 8))
    half = len(layout.names) // 2
    return Space({(): layout}, ("l1", "taylor", "fpgm"), {n: int(i > half) for i, n in enumerate(layout.names)})


@dataclass(frozen=True)
class Problem:
    """Error falls with kept widths, each group by its own importance, and with the distance to a hidden best blend."""

    space: Space
    seed: int
    importance: np.ndarray = field(init=False)
    blend: np.ndarray = field(init=False)
    base: int = field(init=False)

    def __post_init__(self) -> None:
        rng = numpy_generator(self.seed, "problem")
        importance = np.exp(rng.normal(0.0, 1.5, len(self.space.groups)))
        layout = self.space.layouts[()]
        object.__setattr__(self, "importance", importance / importance.sum())
        object.__setattr__(self, "blend", rng.dirichlet(np.ones(len(self.space.criteria)), self.space.blends))
        object.__setattr__(self, "base", layout.cost(layout.full()).params)

    def truth(self, genome: Genome) -> float:
        """Error without noise, 0.05 to 1."""
        missing = 1.0 - self.space.widths(genome) / self.space.layouts[()].sizes
        blend = 1.0 + 0.5 * float(np.abs(np.array(genome.blend) - self.blend).sum(axis=1).mean())
        return 0.05 + 0.95 * min(1.0, float((self.importance * missing**2).sum()) * blend)

    def evaluate(self, request: Request) -> Mapping[str, float]:
        """A probe's metrics; its noise is a function of (seed, genome)."""
        genome = request.genome
        noise = NOISE * float(numpy_generator(self.seed, genome.id).normal())
        return {"accuracy": 1.0 - self.truth(genome) - noise, "params": self.space.cost(genome).params}


class Evolving:
    """A plan of ``count`` probes by a strategy, which keeps the hypervolume of what is known over virtual time.

    The front is that of the noisy observations, its hypervolume that of the true errors of the front's genomes.
    """

    def __init__(self, problem: Problem, count: int, seed: int, strategy: str = "evolution") -> None:
        self.cluster: SimulatedCluster
        self.curve: list[tuple[float, float]] = []
        self._problem = problem
        self._count = count
        self._strategy = make_strategy(strategy, problem.space, POPULATION, "params", seed)
        self._front: list[tuple[Point, Point]] = []

    def ask(self, number: int) -> Request | None:
        if number >= self._count:
            return None
        return Request(number, PROBE, self._strategy.ask(number), "strategy")

    def tell(self, evaluation: Evaluation) -> None:
        self._strategy.tell(evaluation)
        if evaluation.ok:
            self._enter(evaluation)
        self.curve.append((self.cluster.now, self._volume))

    _volume = 0.0

    def _enter(self, evaluation: Evaluation) -> None:
        metrics, base = evaluation.metrics, self._problem.base
        seen = Point(0.0, normalised(1.0 - metrics["accuracy"], metrics["params"], base))
        true = Point(0.0, normalised(self._problem.truth(evaluation.request.genome), metrics["params"], base))
        candidates = [*self._front, (seen, true)]
        kept = front_indices([s for s, _ in candidates])
        if len(candidates) - 1 in kept:
            self._front = [candidates[i] for i in kept]
            self._volume = hypervolume(t for _, t in self._front)

    def at_time(self, now: float) -> float:
        """Hypervolume of what was committed until ``now``."""
        return max((volume for at, volume in self.curve if at <= now), default=0.0)


class Generations:
    """A plan in batches: nothing of the next is asked before all of one is told."""

    def __init__(self, plan: Evolving, size: int) -> None:
        self._plan = plan
        self._size = size
        self._told: list[Evaluation] = []
        self._asked = 0

    def ask(self, number: int) -> Request | None:
        if self._asked % self._size == 0 and len(self._told) < self._asked:
            return None
        request = self._plan.ask(number)
        self._asked += request is not None
        return request

    def tell(self, evaluation: Evaluation) -> None:
        self._told.append(evaluation)
        self._plan.tell(evaluation)


class NoLog:
    """An archive that keeps nothing."""

    def append(self, evaluations: list[Evaluation]) -> None:
        pass


def run_free(plan: Evolving, cluster: SimulatedCluster, count: int) -> None:
    """Tell on arrival, ask when a worker is idle: fast, and different on every cluster."""
    asked = 0
    running: dict[int, Request] = {}
    tries: dict[int, int] = {}
    lost: list[Request] = []
    while asked < count or running:
        while cluster.idle() and (lost or asked < count):
            request = lost.pop() if lost else plan.ask(asked)
            if request is None:
                break
            asked += request.number == asked
            running[request.number] = request
            cluster.submit(request)
        for outcome in cluster.wait():
            tries[outcome.number] = tries.get(outcome.number, 0) + 1
            request = running.pop(outcome.number)
            if outcome.reason == "worker_lost" and tries[outcome.number] <= RETRIES:
                lost.append(request)
            else:
                plan.tell(Evaluation(request, outcome))


@dataclass(frozen=True)
class Course:
    """How one search went: hypervolume at the ideal end, at the last evaluation, utilisation, virtual time."""

    at_time: float
    at_count: float
    busy: float
    end: float


def evolve(space: Space, way: str, workers: int, count: int, seed: int, sigma: float) -> Course:
    """One search of ``count`` probes, driven as ``way`` says: ``free``, ``generational``, ``random``, or a multiple."""
    problem = Problem(space, seed)
    plan = Evolving(problem, count, seed, "random" if way == "random" else "evolution")
    durations = lognormal_durations(sigma, MEAN, seed)
    cluster = plan.cluster = SimulatedCluster(workers, problem.evaluate, durations, LOSSES, seed)
    if way in ("free", "random"):
        run_free(plan, cluster, count)
    elif way == "generational":
        size = workers * -(-POPULATION // workers)
        run_engine(Generations(plan, size), cluster, NoLog(), size, RETRIES)
    else:
        run_engine(plan, cluster, NoLog(), int(way) * workers, RETRIES)
    return Course(
        plan.at_time(count * MEAN / workers), plan.curve[-1][1], cluster.utilisation(drain=False), cluster.now
    )


def hypervolume_table(
    space: Space, ways: Sequence[str], workers: int, waves: int, seeds: Sequence[int], sigma: float
) -> Table:
    """Every way of driving the same evolution, paired by seed; p of Wilcoxon's test, not corrected for many windows."""
    count = waves * workers
    runs = f"seeds {seeds[0]}–{seeds[-1]}, paired"
    table = Table(title=f"{workers} workers, {count:,} probes, σ {sigma:g}, {runs}: hypervolume, median (quartiles)")
    for column in ("way", "at equal time", "− free (wins)", "− generational (wins, p)", "at equal evaluations"):
        table.add_column(column, justify="left" if column == "way" else "right")
    table.add_column("− free", justify="right")
    table.add_column("busy", justify="right")
    table.add_column("hours", justify="right")
    courses = {way: [evolve(space, way, workers, count, seed, sigma) for seed in seeds] for way in ways}
    times = {way: np.array([c.at_time for c in cs]) for way, cs in courses.items()}
    counts = {way: np.array([c.at_count for c in cs]) for way, cs in courses.items()}
    for way in ways:
        gain, over = times[way] - times["free"], times[way] - times["generational"]
        p = wilcoxon(over).pvalue if len(seeds) > 1 and np.any(over) else 1.0
        table.add_row(
            f"window {way} × workers" if way.isdigit() else way,
            _quartiles(times[way]),
            f"{np.median(gain):+.3f} ({(gain > 0).sum()}/{len(seeds)})",
            f"{np.median(over):+.3f} ({(over > 0).sum()}/{len(seeds)}, {p:.3f})",
            _quartiles(counts[way]),
            f"{np.median(counts[way] - counts['free']):+.3f}",
            f"{np.mean([c.busy for c in courses[way]]):.2f}",
            f"{np.mean([c.end for c in courses[way]]) / 3600:.2f}",
        )
    return table


class Pooled:
    """A plan that costs nothing: ``count`` probes of a few ready genomes, so that the engine is what is measured."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = [Genome((), 1.0, (0.5 + i / 1e4,), ()) for i in range(1000)]

    def ask(self, number: int) -> Request | None:
        return Request(number, PROBE, self._pool[number % 1000], "pool") if number < self._count else None

    def tell(self, evaluation: Evaluation) -> None:
        pass


_METRICS: Mapping[str, float] = {"accuracy": 0.5, "params": 1}


def drive(workers: int, multiple: int, count: int, sigma: float, limit: float = math.inf) -> SimulatedCluster:
    """Run trivial probes through engine and simulation with a window of ``multiple × workers``.

    ``limit`` ends attempts after so many virtual seconds, as a run's time limit does.
    """
    free = lognormal_durations(sigma, MEAN, 0)
    cluster = SimulatedCluster(workers, lambda _: _METRICS, lambda r, a: min(free(r, a), limit), LOSSES)
    run_engine(Pooled(count), cluster, NoLog(), multiple * workers, RETRIES)
    return cluster


def utilisation_table(sizes: Sequence[int], waves: int) -> Table:
    """Busy share of all worker-seconds while there is something left to ask."""
    table = Table(title=f"utilisation by window (log-normal durations, {LOSSES:.0%} losses, {waves} waves or more)")
    table.add_column("workers")
    table.add_column("durations")
    for multiple in MULTIPLES:
        table.add_column(f"{multiple} ×", justify="right")
    kinds: Iterable[tuple[str, float, float]] = (
        ("σ 1", 1.0, math.inf),
        ("σ 1, stopped at 10 × mean", 1.0, 10 * MEAN),
        ("σ 1, stopped at 4 × mean", 1.0, 4 * MEAN),
        ("σ 0.5", 0.5, math.inf),
        ("σ 0.3", 0.3, math.inf),
    )
    for workers in sizes:
        for name, sigma, limit in kinds:
            count = max(waves * workers, 20_000)
            shares = [drive(workers, m, count, sigma, limit).utilisation(drain=False) for m in MULTIPLES]
            table.add_row(str(workers), name, *(f"[bold]{s:.3f}[/]" if s >= 0.9 else f"{s:.3f}" for s in shares))
    return table


def day_table(workers: int, hours: float) -> Table:
    """A day of a large cluster, in real seconds; attempts are stopped at ten times the mean."""
    count = int(workers * hours * 3600 / MEAN)
    began, began_cpu = time.perf_counter(), time.process_time()
    cluster = drive(workers, 16, count, SIGMA, 10 * MEAN)
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    table = Table(title=f"{workers:,} workers for {hours:g} hours: engine and simulation alone")
    for name in ("evaluations", "virtual hours", "busy", "real seconds", "CPU seconds", "CPU µs per evaluation"):
        table.add_column(name, justify="right")
    busy = f"{cluster.utilisation(drain=False):.3f}"
    times = (f"{seconds:.1f}", f"{cpu:.1f}", f"{cpu / count * 1e6:.1f}")
    table.add_row(f"{count:,}", f"{cluster.now / 3600:.1f}", busy, *times)
    return table


def _quartiles(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, short runs, an hour instead of a day")
    parser.add_argument("--only", choices=("utilisation", "hypervolume", "day"))
    parser.add_argument("--workers", type=int, nargs="+", default=[16], help="cluster sizes of the hypervolume tables")
    parser.add_argument("--sigma", type=float, nargs="+", default=[1.0], help="spreads of their durations")
    parser.add_argument("--waves", type=int, default=60, help="probes per worker of the hypervolume tables")
    parser.add_argument("--seeds", type=int, default=10, help="paired runs of the hypervolume tables")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--ways", nargs="+", default=WAYS, help="free and generational (compared with), random, windows × workers"
    )
    options = parser.parse_args()
    bounds = options.first_seed, options.first_seed + (2 if options.quick else options.seeds)
    console = Console(width=150)
    quick = options.quick
    parts: dict[str, Callable[[], list[Table]]] = {
        "utilisation": lambda: [utilisation_table((16, 1000), 20 if quick else 200)],
        "hypervolume": lambda: [
            hypervolume_table(
                make_space(), options.ways, workers, 20 if quick else options.waves, range(*bounds), sigma
            )
            for workers in options.workers
            for sigma in options.sigma
        ],
        "day": lambda: [day_table(1000, 1 if quick else 24)],
    }
    for name, part in parts.items():
        if options.only in (None, name):
            began = time.perf_counter()
            for table in part():
                console.print(table)
            console.print(f"({name}: {time.perf_counter() - began:.0f} s)\n")


if __name__ == "__main__":
    main()
