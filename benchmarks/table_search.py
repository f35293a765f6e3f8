"""How many trainings a search needs, on a table of candidates: forecasts against Optuna, evolution and chance.

    python benchmarks/table_search.py benchmarks/tables/digits.parquet [--seeds 20] [--cost params]

The target is the hypervolume that random search reaches with 200 trainings, or with a fifth of a smaller table's
candidates (median over the seeds). Printed per strategy: the trainings until it is reached, median and 95% bootstrap
interval over the seeds, by what the search saw (validation accuracy, training seed 0) and by what it did not see (test
accuracy, mean of both training seeds); and the held-out hypervolume after twelve. A search ends at the target.

Strategies that know no probes are told trained accuracies: random, Optuna's TPE and NSGA-II, and our evolution.
``evolution + probes`` is the product without forecasts; ``surrogate`` the product as it is. Both probe; how much is
printed too. ``twin`` is told what every candidate came to under the other training seed: as good as a forecast can be.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Printed
from table_space import Table, read_table

from search.front import Point, dominates, hypervolume
from search.plan import PlanSettings, SearchPlan
from search.strategies import make_strategy
from search.surrogate.guided import Guidance
from spaces.randomness import numpy_generator
from workers.evaluation import PROBE, TRAIN, Request

RANDOM_TRAININGS, RANDOM_SHARE = 200, 5
"""What the target is made with: so many trainings, at most one candidate in so many."""

MOST_DIRECT, MOST_OURS = 240, 48
EARLY = 12


@dataclass(frozen=True)
class Course:
    """One search on the table: the candidates it trained, in order, and the probes it made before each."""

    trained: list[str]
    probes: list[int]


Targets = dict[bool, float]
"""The hypervolume to reach: seen, and held out (``True``)."""

Search = Callable[[Table, str, int, Targets], Course]
"""From a table, the cost, a seed and the targets, both of which it may stop at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cost", default="params", choices=("params", "macs"))
    parser.add_argument("--only", nargs="+", choices=tuple(SEARCHES), default=list(SEARCHES))
    parser.add_argument("--record", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = {path.stem: compare(path, arguments) for path in arguments.tables}
    if arguments.record is not None:
        arguments.record.write_text(json.dumps(figures, indent=1) + "\n")


def compare(path: Path, arguments: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Run all searches over all seeds, print them, and return the figures."""
    table, seeds = read_table(path), range(arguments.seeds)
    curves: dict[str, dict[bool, list[list[float]]]] = {}
    probes: dict[str, list[list[int]]] = {}
    targets: Targets = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, _start, (path, arguments.cost)) as pool:
        for name in ("random", *[n for n in arguments.only if n != "random"]):
            courses = list(pool.map(_search, [name] * len(seeds), seeds, [targets] * len(seeds)))
            curves[name] = {h: [_curve(table, c.trained, arguments.cost, h) for c in courses] for h in (False, True)}
            probes[name] = [c.probes for c in courses]
            print(f"{path.stem}: {name} done", file=sys.stderr, flush=True)
            if name == "random":
                count = min(RANDOM_TRAININGS, len(table.rows) // RANDOM_SHARE)
                targets = {held: _median([c[count - 1] for c in both]) for held, both in curves[name].items()}
    console = Console(width=max(110, Console().width))
    printed = Printed(
        title=f"{path.name}: {len(table.rows)} candidates, {arguments.seeds} seeds, cost {arguments.cost}"
    )
    for title in ("strategy", "trainings to target (seen)", "(held out)", "probes till then", f"after {EARLY}"):
        printed.add_column(title, justify="left" if title == "strategy" else "right")
    figures: dict[str, dict[str, object]] = {}
    for name, both in curves.items():
        needed = {held: [first_at(c, targets[held]) for c in both[held]] for held in (False, True)}
        spent = [_at(p, n) for p, n in zip(probes[name], needed[False], strict=True)]
        early = _median([c[EARLY - 1] for c in both[True]])
        printed.add_row(name, *[_interval(needed[h]) for h in (False, True)], f"{_median(spent):.0f}", f"{early:.4f}")
        figures[name] = {"seen": needed[False], "held_out": needed[True], "probes": spent, "early": early}
    console.print(printed)
    return figures


def volumes(points: Iterable[Point]) -> Iterator[float]:
    """Hypervolume after each point."""
    front: list[Point] = []
    volume = 0.0
    for point in points:
        if not any(dominates(other, point) or other == point for other in front):
            front = [other for other in front if not dominates(point, other)] + [point]
            volume = hypervolume(front)
        yield volume


def first_at(curve_: Sequence[float], target: float) -> float:
    """Trainings until ``target``; infinite where it is not reached."""
    return next((n + 1.0 for n, value in enumerate(curve_) if value >= target), math.inf)


def direct(strategy: str) -> Search:
    """A search whose every evaluation is a training."""

    def run(table: Table, cost: str, seed: int, targets: Targets) -> Course:
        chosen = make_strategy(strategy, table.space, 20, cost, seed)
        trained: dict[str, None] = {}
        for number in range(2 * MOST_DIRECT):
            genome = chosen.ask(number)
            chosen.tell(table.train(Request(number, PROBE, genome, strategy)))
            trained.setdefault(genome.id)  # a candidate that is proposed again costs nothing
            if len(trained) >= min(MOST_DIRECT, len(table.rows)):
                break
            # Seldom looked at: it takes longer than a proposal.
            if len(trained) >= EARLY and number % 4 == 0 and _reached(table, trained, cost, targets):
                break
        return Course(list(trained), [0] * len(trained))

    return run


def random(table: Table, cost: str, seed: int, _: Targets) -> Course:
    """Candidates of the table in random order."""
    order = numpy_generator(seed, "random search").permutation(len(table.space.genomes))[:MOST_DIRECT]
    return Course([table.space.genomes[i].id for i in order], [0] * len(order))


def product(surrogate: bool) -> Search:
    """The product's own course, two trainings a round."""

    def run(table: Table, cost: str, seed: int, targets: Targets) -> Course:
        trainings = min(MOST_OURS, len(table.rows) // 4)
        settings = PlanSettings(
            strategy="evolution",
            probes=min(10 * trainings, len(table.rows) // 2),
            trainings=trainings,
            rounds=trainings // 2,
            population=20,
            cost=cost,
            controls=False,
            repeats=1,
            sensitivity_levels=1,
            max_drop=None,
        )
        guidance = Guidance(table.images) if surrogate else None
        return Course(*_follow(SearchPlan(table.space, settings, 1.0, seed, guidance), table, cost, targets))

    return run


def twin(table: Table, cost: str, _: int, __: Targets) -> Course:
    """Each training the one that adds most hypervolume as the other training seed has it, then the most accurate."""
    points = {name: table.twin(name, cost) for name in table.rows}
    left = sorted(points, key=lambda name: points[name].objectives)
    chosen: list[str] = []
    while len(chosen) < min(MOST_OURS, len(points)):
        known = [points[name] for name in chosen]
        best = max(left, key=lambda name: hypervolume([*known, points[name]]))  # the first of equals
        left.remove(best)
        chosen.append(best)
    return Course(chosen, [0] * len(chosen))


def _curve(table: Table, trained: Iterable[str], cost: str, held_out: bool) -> list[float]:
    return list(volumes(table.point(name, cost, held_out) for name in trained))


def _reached(table: Table, trained: Iterable[str], cost: str, targets: Targets) -> bool:
    return all(_curve(table, trained, cost, held)[-1] >= target for held, target in targets.items())


_worker: tuple[Table, str]


def _start(path: Path, cost: str) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = read_table(path), cost


def _search(name: str, seed: int, targets: Targets) -> Course:
    return SEARCHES[name](*_worker, seed, targets)


def _follow(plan: SearchPlan, table: Table, cost: str, targets: Targets) -> tuple[list[str], list[int]]:
    trained: list[str] = []
    probes: list[int] = []
    for number, request in enumerate(iter(lambda: plan.ask(0), None)):
        assert request.number == number
        if request.stage == TRAIN:
            trained.append(request.genome.id)
            probes.append(number - len(trained) + 1)
            if len(trained) >= EARLY and _reached(table, trained, cost, targets):
                break
        plan.tell(table.answer(request))
    return trained, probes


SEARCHES: dict[str, Search] = {
    "random": random,
    "optuna-tpe": direct("optuna-tpe"),
    "optuna-nsga2": direct("optuna-nsga2"),
    "evolution": direct("evolution"),
    "evolution + probes": product(False),
    "surrogate": product(True),
    "twin": twin,
}


def _at(probes: Sequence[int], trainings: float) -> float:
    return float(probes[min(int(trainings), len(probes)) - 1]) if math.isfinite(trainings) else math.inf


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _interval(values: Sequence[float]) -> str:
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(np.asarray(values), (2000, len(values))), axis=1)
    low, high = np.sort(drawn)[[49, 1949]]
    return f"{_median(values):.0f} [{low:.0f}, {high:.0f}]"


if __name__ == "__main__":
    main()
