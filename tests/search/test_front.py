"""Domination, survival and hypervolume against their definitions, computed by brute force."""

from __future__ import annotations

import math

import pytest
from deap import tools
from hypothesis import given, settings
from hypothesis import strategies as st

from search.front import (
    Point,
    _Individual,
    dominates,
    front_indices,
    hypervolume,
    normalised,
    select,
    standing,
)

# Few distinct values, so that ties and duplicates are common.
VALUES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.2])
BROKEN = st.sampled_from([math.nan, math.inf, -math.inf])
VIOLATIONS = st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5, math.inf, math.nan])


def points(objectives: int, broken: bool = True) -> st.SearchStrategy[list[Point]]:
    value = VALUES | BROKEN if broken else VALUES
    return st.lists(st.builds(Point, VIOLATIONS, st.tuples(*[value] * objectives)), max_size=24)


def brute_dominates(a: Point, b: Point) -> bool:
    """The definition of Deb et al. with unmeasured points behind all others, case by case."""
    if not b.measured:
        return a.measured
    if not a.measured:
        return False
    worse_a = math.inf if math.isnan(a.violation) else a.violation
    worse_b = math.inf if math.isnan(b.violation) else b.violation
    if worse_a != worse_b:
        return worse_a < worse_b
    no_worse = not any(x > y for x, y in zip(a.objectives, b.objectives, strict=True))
    return no_worse and a.objectives != b.objectives


def brute_ranks(candidates: list[Point]) -> list[int]:
    """Peel one front after another."""
    left, ranks, rank = set(range(len(candidates))), [0] * len(candidates), 0
    while left:
        best = {i for i in left if not any(brute_dominates(candidates[j], candidates[i]) for j in left)}
        for i in best:
            ranks[i] = rank
        left -= best
        rank += 1
    return ranks


def staircase(corners: list[tuple[float, float]], reference: float) -> float:
    """Area below the reference in two dimensions: slabs between consecutive values of the first objective."""
    inside = sorted(p for p in corners if p[0] < reference and p[1] < reference)
    area = 0.0
    for i, (x, _) in enumerate(inside):
        right = inside[i + 1][0] if i + 1 < len(inside) else reference
        area += (right - x) * (reference - min(y for _, y in inside[: i + 1]))
    return area


@given(points(2))
def test_domination_is_the_definition(candidates: list[Point]) -> None:
    for a in candidates:
        for b in candidates:
            assert dominates(a, b) == brute_dominates(a, b)
            assert not (dominates(a, b) and dominates(b, a))


@settings(deadline=None)
@given(st.integers(1, 3).flatmap(points))
def test_ranks_are_the_peeled_fronts(candidates: list[Point]) -> None:
    assert [rank for rank, _ in standing(candidates)] == brute_ranks(candidates)


@given(points(2))
def test_front_is_what_nothing_dominates(candidates: list[Point]) -> None:
    expected = [
        i for i, a in enumerate(candidates) if a.measured and not any(brute_dominates(b, a) for b in candidates)
    ]
    assert front_indices(candidates) == expected


@given(points(2), st.integers(0, 24))
def test_survivors_are_never_dominated_by_the_dropped(candidates: list[Point], count: int) -> None:
    kept = select(candidates, count)
    dropped = set(range(len(candidates))) - set(kept)
    assert len(kept) == len(set(kept)) == min(count, len(candidates))
    assert not any(dominates(candidates[d], candidates[k]) for d in dropped for k in kept)
    assert kept == select(candidates, count)


@given(points(2, broken=False).filter(lambda p: len(p) > 0), st.integers(1, 24))
def test_feasible_survivors_have_the_objectives_that_deap_selects(candidates: list[Point], count: int) -> None:
    feasible = [Point(0.0, p.objectives) for p in candidates]
    individuals = [_Individual(i, p.objectives) for i, p in enumerate(feasible)]
    chosen = tools.selNSGA2(individuals, min(count, len(feasible)), nd="log")
    # Among points equal in rank and crowding DEAP takes the first of its own order, we the first by index.
    ours, theirs = select(feasible, count), [individual.index for individual in chosen]
    order = standing(feasible)
    assert sorted(order[i] for i in ours) == sorted(order[i] for i in theirs)


FINE = st.floats(-10, 10, width=16)


@settings(deadline=None)
@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[VALUES | FINE] * n), min_size=1, max_size=40)))
def test_standing_is_that_of_deap_to_the_last_bit(objectives: list[tuple[float, ...]]) -> None:
    individuals = [_Individual(i, values) for i, values in enumerate(objectives)]
    sort = tools.sortLogNondominated if len(objectives[0]) > 1 else tools.sortNondominated
    expected = [(0, 0.0)] * len(objectives)
    for rank, front in enumerate(sort(individuals, len(individuals))):
        tools.emo.assignCrowdingDist(front)
        for individual in front:
            expected[individual.index] = (rank, -individual.fitness.crowding_dist)
    assert standing([Point(0.0, values) for values in objectives]) == expected


def test_feasible_first_then_violation_then_rank() -> None:
    candidates = [
        Point(0.5, (0.0, 0.0)),
        Point(0.1, (0.9, 0.9)),
        Point(0.0, (math.nan, 0.0)),
        Point(0.0, (1.0, 1.0)),
        Point(0.0, (0.5, 1.0)),
    ]
    assert select(candidates, 5) == [4, 3, 1, 0, 2]
    assert front_indices(candidates) == [4]


def test_equal_points_survive_by_index() -> None:
    same = [Point(0.0, (0.5, 0.5))] * 4
    assert sorted(select([*same, Point(0.0, (0.6, 0.6))], 4)) == [0, 1, 2, 3]
    assert select([Point(0.0, (math.nan, 0.5))] * 3, 2) == [0, 1]


def test_crowding_keeps_the_ends_and_thins_the_middle() -> None:
    line = [Point(0.0, (x, 1.0 - x)) for x in (0.0, 0.5, 0.51, 0.52, 1.0)]
    assert set(select(line, 4)) >= {0, 4}
    assert 2 not in select(line, 4)


@given(points(2))
def test_hypervolume_is_the_area_of_the_staircase(candidates: list[Point]) -> None:
    corners = [(p.objectives[0], p.objectives[1]) for p in candidates if p.measured and p.violation <= 0]
    assert hypervolume(candidates, (1.1, 1.1)) == pytest.approx(staircase(corners, 1.1), abs=1e-12)


def test_hypervolume_of_known_fronts() -> None:
    assert hypervolume([]) == 0.0
    assert hypervolume([Point(0.0, (0.1, 0.1))]) == pytest.approx(1.0)
    assert hypervolume([Point(0.1, (0.1, 0.1)), Point(0.0, (-math.inf, 0.1))]) == 0.0
    assert hypervolume([Point(0.0, normalised(0.2, 50, 100))]) == pytest.approx(0.9 * 0.6)
