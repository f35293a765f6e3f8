"""Which candidates are better: constrained domination, the front, survival, and the hypervolume of a front.

All objectives are minimised. A point whose objectives are not all finite was not measured: it ranks behind every
measured one, is never on a front and adds no hypervolume.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import moocore
import numpy as np
from deap import base, tools

REFERENCE = 1.1
"""Reference point of the hypervolume in every normalised objective."""


@dataclass(frozen=True)
class Point:
    """What selection sees of a candidate.

    Attributes:
        violation: largest relative excess over a budget; 0 is feasible, NaN counts as infinite.
        objectives: values to be minimised, as many for every point of a run.
    """

    violation: float
    objectives: tuple[float, ...]

    @property
    def measured(self) -> bool:
        return all(map(math.isfinite, self.objectives))

    @property
    def feasible(self) -> bool:
        return self.violation <= 0.0

    @cached_property
    def _class(self) -> tuple[bool, float]:
        """Points of a lower class dominate those of a higher one, whatever their objectives."""
        if not self.measured:
            return True, 0.0
        return False, math.inf if math.isnan(self.violation) else max(self.violation, 0.0)


def dominates(a: Point, b: Point) -> bool:
    """Whether ``a`` is better: feasible before infeasible, then less violation, then Pareto (Deb et al. 2002, VI)."""
    if a._class != b._class:
        return a._class < b._class
    if not a.measured:
        return False
    pairs = list(zip(a.objectives, b.objectives, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def standing(points: Sequence[Point]) -> list[tuple[int, float]]:
    """Per point ``(rank, −crowding distance)``: the order of NSGA-II, the smaller the better.

    Rank 0 is dominated by none. Domination is by class first, so each class is sorted by itself and the classes
    follow each other (DEAP knows no constraints: its ``ConstrainedFitness`` crashes its sort).
    """
    result = [(0, 0.0)] * len(points)
    classes = [point._class for point in points]
    rank = 0
    for _, members in groupby(sorted(range(len(points)), key=classes.__getitem__), key=classes.__getitem__):
        indices = list(members)
        if not points[indices[0]].measured:
            for i in indices:
                result[i] = (rank, 0.0)
            break  # their class is the last
        objectives = [points[i].objectives for i in indices]
        for front in _fronts(objectives):
            for i, distance in zip(front, crowding([objectives[i] for i in front]), strict=True):
                result[indices[i]] = (rank, -distance)
            rank += 1
    return result


def _fronts(objectives: Sequence[tuple[float, ...]]) -> list[list[int]]:
    """Indices by rank of non-domination, in lexicographic order of the objectives within each; equals by index.

    Two objectives, which every evaluation of a search is sorted by, are swept once: sorted by the first, a point is
    dominated by exactly those fronts whose least second objective so far is no greater (Jensen 2003, as DEAP's
    ``sortLogNondominated``, which does the rest and takes five times as long over these).
    """
    if len(objectives[0]) != 2:
        individuals = [_Individual(i, values) for i, values in enumerate(objectives)]
        # Its sort in O(n log n) asks for two objectives at least.
        sort = tools.sortLogNondominated if len(objectives[0]) > 1 else tools.sortNondominated
        return [[individual.index for individual in front] for front in sort(individuals, len(individuals))]
    fronts: list[list[int]] = []
    least: list[float] = []
    last: tuple[float, ...] = ()
    rank = 0
    for i in sorted(range(len(objectives)), key=objectives.__getitem__):
        if objectives[i] != last:
            last = objectives[i]
            rank = bisect_right(least, last[1])
            least[rank : rank + 1] = [last[1]]
        if rank == len(fronts):
            fronts.append([])
        fronts[rank].append(i)
    return fronts


def crowding(front: Sequence[tuple[float, ...]]) -> list[float]:
    """Crowding distances of one front's points (Deb et al. 2002, III-B), as DEAP's ``assignCrowdingDist`` has them."""
    distances = [0.0] * len(front)
    order = list(range(len(front)))
    for objective in range(len(front[0])):
        values = [point[objective] for point in front]
        order.sort(key=values.__getitem__)
        first, last = order[0], order[-1]
        distances[first] = distances[last] = math.inf
        if values[first] == values[last]:
            continue
        norm = len(front[0]) * float(values[last] - values[first])
        for before, this, after in zip(order, order[1:], order[2:], strict=False):
            distances[this] += (values[after] - values[before]) / norm
    return distances


def select(points: Sequence[Point], count: int) -> list[int]:
    """Indices of the ``count`` survivors of NSGA-II under constrained domination, best first; ties by index."""
    return best(standing(points), count)


def best(standings: Sequence[tuple[int, float]], count: int) -> list[int]:
    """Indices of the ``count`` least standings, best first; ties by index."""
    return sorted(range(len(standings)), key=lambda i: (*standings[i], i))[:count]


def tournament(standings: Sequence[tuple[int, float]], rng: np.random.Generator) -> int:
    """Index of the better of two drawn at random; ties go to the first (binary tournament, Deb et al. 2002, IV)."""
    drawn = rng.integers(len(standings), size=2).tolist()
    return int(min(drawn, key=lambda i: (*standings[i], i)))


def front_indices(points: Sequence[Point]) -> list[int]:
    """Indices of the non-dominated measured points, ascending; equal points are all on the front."""
    return [i for i, (rank, _) in enumerate(standing(points)) if rank == 0 and points[i].measured]


def hypervolume(points: Iterable[Point], reference: Sequence[float] = (REFERENCE, REFERENCE)) -> float:
    """Volume between the feasible measured points and ``reference``, a product of the objectives' units.

    Of points beyond the reference nothing is counted. Computed by moocore (Guerreiro, Fonseca & Paquete 2021).
    """
    inside = [p.objectives for p in points if p.feasible and p.measured]
    return float(moocore.hypervolume(inside, ref=list(reference))) if inside else 0.0


def normalised(error: float, cost: float, base_cost: float) -> tuple[float, float]:
    """Objectives in units of the base network: an error of 1 and its cost; ``REFERENCE`` lies 10% beyond both."""
    return float(error), cost / base_cost


class _Fitness(base.Fitness):  # type: ignore[misc]
    """DEAP's comparisons; it stores values times weights, so −1 for each objective makes it minimise."""

    weights: tuple[float, ...] = ()

    def __init__(self, values: tuple[float, ...]) -> None:
        # A tuple of weights per instance, not per class: `creator` would write a class for every number of objectives.
        self.weights = (-1.0,) * len(values)
        self.values = values  # all that DEAP's own constructor does besides checking the class's weights


class _Individual:
    """The least that DEAP's sort asks for."""

    __slots__ = ("fitness", "index")

    def __init__(self, index: int, objectives: tuple[float, ...]) -> None:
        self.index = index
        self.fitness = _Fitness(objectives)
