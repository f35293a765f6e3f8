"""What the reorder buffer costs: workers left idle, and hypervolume against free and generational evolution.

    python benchmarks/determinism.py [--quick] [--only utilisation|hypervolume|day] [options of the hypervolume tables]

Three parts, on a simulated cluster with log-normal durations (mean 60 virtual seconds) and 2% lost workers:

- utilisation: the busy share of 16 and of 1,000 workers by window, a multiple of the workers or the default, with and
  without a time limit on evaluations. Evaluations of nothing, so it takes no learning.
- hypervolume: of the same evolution driven freely (told on arrival), in generations, and through reorder buffers of
  several windows, at a quarter, a half and all of the time in which workers that are never idle would be done, and
  after the last evaluation. Paired by seed. The problem is synthetic, over a real search space: its numbers compare
  ways to drive a search, not search spaces. Options: ``--workers 16 …``, ``--waves 60 200 …`` (probes per worker),
  ``--sigma 1 …``, ``--limit`` (longest duration, a multiple of the mean; default none), ``--seeds 10``,
  ``--first-seed 0``, ``--ways free generational 4 8 16`` (or ``random``, or any other multiple).
- day: how long a day of 1,000 workers takes to simulate.

``--quick`` makes all of it small: two seeds, short runs, an hour instead of a day.
"""

from __future__ import annotations

import argparse
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import wilcoxon

from search.engine import run_engine
from search.front import Point, dominates, hypervolume, normalised
from search.plan import PlanSettings
from search.strategies import make_strategy
from search.window import default_window
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
MULTIPLES = (2, 4, 8, 16, 32)
WAYS = ("free", "generational", "4", "8", "16")
MOMENTS = (0.25, 0.5, 1.0)
POPULATION = 40
NOISE = 0.005


def search_alone(strategy: str, probes: int, trainings: int, rounds: int, population: int) -> PlanSettings:
    """A search by parameters, without controls."""
    return PlanSettings(
        strategy=strategy,
        probes=probes,
        trainings=trainings,
        rounds=rounds,
        population=population,
        cost="params",
        controls=False,
        repeats=0,
        sensitivity_levels=0,
        max_drop=None,
    )


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
        self._volume = 0.0
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

    def _enter(self, evaluation: Evaluation) -> None:
        metrics, base = evaluation.metrics, self._problem.base
        seen = Point(0.0, normalised(1.0 - metrics["accuracy"], metrics["params"], base))
        true = Point(0.0, normalised(self._problem.truth(evaluation.request.genome), metrics["params"], base))
        if not any(dominates(other, seen) for other, _ in self._front):
            self._front = [(o, t) for o, t in self._front if not dominates(seen, o)] + [(seen, true)]
            self._volume = hypervolume(t for _, t in self._front)

    def at_time(self, now: float) -> float:
        """Hypervolume of what was committed until ``now``."""
        committed = bisect_right(self.curve, now, key=itemgetter(0))
        return self.curve[committed - 1][1] if committed else 0.0


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
    """How one search went: hypervolume at the ``MOMENTS`` and after the last evaluation, utilisation, virtual time."""

    volumes: tuple[float, ...]
    busy: float
    end: float


def evolve(space: Space, way: str, workers: int, count: int, seed: int, sigma: float, limit: float) -> Course:
    """One search of ``count`` probes, driven as ``way`` says: ``free``, ``generational``, ``random``, or a multiple.

    ``limit`` ends attempts after so many virtual seconds, as a run's time limit does; here they still succeed.
    """
    problem = Problem(space, seed)
    plan = Evolving(problem, count, seed, "random" if way == "random" else "evolution")
    free = lognormal_durations(sigma, MEAN, seed)
    cluster = SimulatedCluster(workers, problem.evaluate, lambda r, a: min(free(r, a), limit), LOSSES, seed)
    plan.cluster = cluster
    if way in ("free", "random"):
        run_free(plan, cluster, count)
    elif way == "generational":
        size = workers * -(-POPULATION // workers)
        run_engine(Generations(plan, size), cluster, NoLog(), size, RETRIES)
    else:
        run_engine(plan, cluster, NoLog(), int(way) * workers, RETRIES)
    ideal = count * MEAN / workers
    volumes = (*(plan.at_time(share * ideal) for share in MOMENTS), plan.curve[-1][1])
    return Course(volumes, cluster.utilisation(drain=False), cluster.now)


def hypervolume_table(
    space: Space, ways: Sequence[str], workers: int, waves: int, seeds: Sequence[int], sigma: float, limit: float
) -> Table:
    """Every way of driving the same evolution, paired by seed; p of Wilcoxon's test, not corrected for many windows."""
    count = waves * workers
    what = f"{workers:,} workers, {count:,} probes, σ {sigma:g}"
    stopped = f", stopped at {limit / MEAN:g} × mean" if limit < math.inf else ""
    table = Table(title=f"{what}{stopped}, {len(seeds)} paired seeds: median hypervolume (quartiles)")
    table.add_column("way")
    for column in (*(f"{share:.0%} of time" for share in MOMENTS), "− free (wins, p)", "− generational (wins, p)"):
        table.add_column(column, justify="right")
    for column in ("in the end", "busy", "hours"):
        table.add_column(column, justify="right")
    courses = {way: [evolve(space, way, workers, count, seed, sigma, limit) for seed in seeds] for way in ways}
    volumes = {way: np.array([course.volumes for course in found]) for way, found in courses.items()}
    for way, found in volumes.items():
        timely = [_gain(found, volumes.get(other), len(MOMENTS) - 1) for other in ("free", "generational")]
        table.add_row(
            f"window {way} ×" if way.isdigit() else way,
            *(f"{np.median(found[:, i]):.3f}" for i in range(len(MOMENTS) - 1)),
            _quartiles(found[:, len(MOMENTS) - 1]),
            *timely,
            _quartiles(found[:, -1]),
            f"{np.mean([c.busy for c in courses[way]]):.2f}",
            f"{np.mean([c.end for c in courses[way]]) / 3600:.2f}",
        )
    return table


def _gain(ours: np.ndarray, theirs: np.ndarray | None, column: int) -> str:
    """Median gain, wins and Wilcoxon's p over the paired seeds."""
    if theirs is None or theirs is ours:
        return ""
    gains = ours[:, column] - theirs[:, column]
    p = wilcoxon(gains).pvalue if len(gains) > 1 and np.any(gains) else 1.0
    return f"{np.median(gains):+.3f} ({(gains > 0).sum()}/{len(gains)}, {p:.3f})"


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


def drive(workers: int, window: int, count: int, sigma: float, limit: float = math.inf) -> SimulatedCluster:
    """Run trivial probes through engine and simulation.

    ``limit`` ends attempts after so many virtual seconds.
    """
    free = lognormal_durations(sigma, MEAN, 0)
    cluster = SimulatedCluster(workers, lambda _: _METRICS, lambda r, a: min(free(r, a), limit), LOSSES)
    run_engine(Pooled(count), cluster, NoLog(), window, RETRIES)
    return cluster


def utilisation_table(sizes: Sequence[int], waves: int, least: int) -> Table:
    """Busy share of all worker-seconds while there is something left to ask, over ``least`` evaluations or more."""
    table = Table(title=f"utilisation by window (log-normal durations, {LOSSES:.0%} losses, {waves} waves or more)")
    table.add_column("workers")
    table.add_column("durations")
    for multiple in MULTIPLES:
        table.add_column(f"{multiple} ×", justify="right")
    table.add_column("default", justify="right")
    kinds = (("σ 1", 1.0, math.inf), ("σ 1, stopped at 10 × mean", 1.0, 10 * MEAN), ("σ 0.5", 0.5, math.inf))
    for workers in sizes:
        for name, sigma, limit in kinds:
            count = max(waves * workers, least)
            default = default_window(workers, count)
            windows = [*(m * workers for m in MULTIPLES), default]
            shares = [drive(workers, w, count, sigma, limit).utilisation(drain=False) for w in windows]
            cells = [f"[bold]{s:.3f}[/]" if s >= 0.9 else f"{s:.3f}" for s in shares]
            cells[-1] += f" ({default / workers:.0f} ×)"
            table.add_row(str(workers), name, *cells)
    return table


def day_table(workers: int, hours: float) -> Table:
    """A day of a large cluster, in real seconds; attempts are stopped at ten times the mean."""
    count = int(workers * hours * 3600 / MEAN)
    began, began_cpu = time.perf_counter(), time.process_time()
    cluster = drive(workers, default_window(workers, count), count, SIGMA, 10 * MEAN)
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
    parser.add_argument("--limit", type=float, default=math.inf, help="their longest, a multiple of the mean")
    parser.add_argument("--waves", type=int, nargs="+", default=[60, 200], help="probes per worker of those tables")
    parser.add_argument("--seeds", type=int, default=10, help="paired runs of the hypervolume tables")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), help="free and generational (compared with), random, windows × workers"
    )
    options = parser.parse_args()
    bounds = options.first_seed, options.first_seed + (2 if options.quick else options.seeds)
    console = Console(width=170)
    quick = options.quick
    parts: dict[str, Callable[[], list[Table]]] = {
        "utilisation": lambda: [utilisation_table((16, 1000), *((20, 5000) if quick else (200, 20_000)))],
        "hypervolume": lambda: [
            hypervolume_table(make_space(), options.ways, workers, waves, range(*bounds), sigma, options.limit * MEAN)
            for workers in options.workers
            for waves in ([20] if quick else options.waves)
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
