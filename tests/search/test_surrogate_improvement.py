"""Expected hypervolume improvement against the hypervolume itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.front import Point, hypervolume
from search.surrogate.improvement import expected_improvement, improvement, pick
from search.surrogate.predictor import Forecast
from search.surrogate.scale import accuracy_of

UNIT = st.floats(0.01, 1.3)
POINTS = st.lists(st.tuples(UNIT, UNIT), max_size=8)


def volume(points: list[tuple[float, float]]) -> float:
    return hypervolume([Point(0.0, p) for p in points])


def certain(errors: list[float], deviation: float = 1e-12) -> Forecast:
    e = np.array(errors)
    spread = np.full(len(e), deviation)
    return Forecast(np.log((1 - e) / e), spread, spread)


@given(POINTS, st.tuples(UNIT, UNIT))
def test_a_certain_point_adds_what_the_hypervolume_grows(
    front: list[tuple[float, float]], new: tuple[float, float]
) -> None:
    grown = volume([*front, new]) - volume(front)
    assert float(improvement(np.array(new[0]), np.array(new[1]), front)) == pytest.approx(grown, abs=1e-9)


@given(POINTS, st.floats(0.02, 0.98), UNIT, st.floats(0.01, 2.0))
def test_the_expectation_is_the_mean_over_many_draws(
    front: list[tuple[float, float]], error: float, cost: float, deviation: float
) -> None:
    forecast = certain([error], deviation)
    draws = forecast.mean + deviation * np.random.default_rng(0).normal(size=4000)
    sampled = improvement(1 - accuracy_of(draws), np.full(4000, cost), front)
    expected = float(expected_improvement(forecast, np.array([cost]), front)[0])
    assert expected == pytest.approx(sampled.mean(), abs=6 * sampled.std() / 60 + 0.003)


def test_what_is_dominated_for_certain_is_worth_nothing_and_doubt_makes_it_worth_something() -> None:
    front = [(0.1, 0.2)]
    assert expected_improvement(certain([0.2]), np.array([0.3]), front)[0] == 0.0
    assert expected_improvement(certain([0.2], 1.0), np.array([0.3]), front)[0] > 0.0


def test_picks_spread_where_one_alone_would_be_repeated() -> None:
    errors, costs = [0.100, 0.101, 0.102, 0.300], np.array([0.50, 0.50, 0.50, 0.10])
    chosen = pick(certain(errors), costs, [(0.5, 0.05)], 2)
    assert sorted(chosen) == [0, 3]


@given(st.lists(st.tuples(st.floats(0.01, 0.99), UNIT), min_size=1, max_size=10), st.integers(0, 12))
def test_picks_are_different_and_as_many_as_asked(points: list[tuple[float, float]], count: int) -> None:
    chosen = pick(certain([e for e, _ in points]), np.array([c for _, c in points]), [], count)
    assert len(chosen) == len(set(chosen)) == min(count, len(points))
