"""The curve finds what made the data, never rises as networks get narrower, and its intervals hold what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.networks import NetworkSpec, build_network
from workers.complexity.scaling import Curve, factor_for_params, fit_curve, params_share

FACTORS = [1.0, 0.5, 0.25, 0.125, 0.0625]
TRUE = Curve(0.004, (0.05, 0.01), 1.8, 0.0, ((0.0,) * 4,) * 4, 10.0, 1 / 16)


def make_trainings(sets: int, noise: float, seed: int) -> tuple[list[float], list[float], list[list[float]], list[int]]:
    """Scores by :data:`TRUE` of data sets whose full networks reach different scores."""
    rng = np.random.default_rng(seed)
    factors, scores, complexity, names = [], [], [], []
    for name in range(sets):
        measures = rng.uniform(0, 0.6, 2).tolist()
        full = rng.uniform(0.5, 1)
        for factor in FACTORS:
            share = TRUE.retained(factor, measures) + noise * -math.log2(factor) * rng.normal()
            factors.append(factor)
            scores.append(full * share)
            complexity.append(measures)
            names.append(name)
    return factors, scores, complexity, names


def test_known_parameters_are_found_again() -> None:
    curve = fit_curve(*make_trainings(12, 0.0, 0), ridge=1e-6)
    assert curve.intercept == pytest.approx(TRUE.intercept, rel=0.05)
    assert curve.slopes == pytest.approx(TRUE.slopes, rel=0.05)
    assert curve.power == pytest.approx(TRUE.power, rel=0.02)
    assert curve.noise < 1e-3
    assert curve.least == 1 / 16


def test_one_data_set_without_complexity() -> None:
    shares = [1 - 0.02 * math.log2(1 / f) ** 2 for f in FACTORS]
    curve = fit_curve(FACTORS, [0.8 * s for s in shares], [[]] * 5)
    assert [curve.retained(f) for f in FACTORS] == pytest.approx(shares, abs=0.003)
    assert curve.slopes == ()


@given(
    scores=st.lists(st.floats(0.05, 1), min_size=5, max_size=5),
    complexity=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_never_rises_as_networks_get_narrower(scores: list[float], complexity: tuple[float, float]) -> None:
    curve = fit_curve(FACTORS, scores, [complexity] * 5)
    shares = [curve.retained(f, complexity) for f in np.geomspace(1, 1 / 16, 30)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert all(s >= 0 for s in shares)
    assert min(curve.intercept, *curve.slopes) >= 0
    assert curve.power > 0


def test_more_complex_images_never_bear_narrower_networks() -> None:
    curve = fit_curve(*make_trainings(6, 0.01, 1))
    for factor in FACTORS[1:]:
        shares = [curve.retained(factor, (c, c)) for c in (0, 0.2, 0.4)]
        assert shares == sorted(shares, reverse=True)


def test_intervals_hold_what_they_say() -> None:
    held = []
    for seed in range(60):
        curve = fit_curve(*make_trainings(6, 0.02, seed), ridge=1e-4)
        rng = np.random.default_rng([1, seed])
        for factor in FACTORS[1:]:
            measures = rng.uniform(0, 0.6, 2)
            low, high = curve.interval(factor, measures.tolist())
            share = TRUE.retained(factor, measures.tolist()) - 0.02 * math.log2(factor) * rng.normal()
            held.append(low <= share <= high)
    assert 0.9 < np.mean(held) < 0.99


def test_the_factor_is_the_smallest_whose_interval_lies_above() -> None:
    curve = fit_curve(*make_trainings(8, 0.01, 2))
    complexity = (0.2, 0.2)
    factor = curve.factor_for(0.9, complexity)
    assert factor is not None
    assert curve.interval(factor, complexity)[0] >= 0.9
    assert curve.interval(factor * 0.98, complexity)[0] < 0.9
    asked = [curve.factor_for(share, complexity) for share in (0.5, 0.8, 0.9, 0.95, 1.0)]
    assert asked == sorted(asked)
    assert asked[-1] == 1.0


def test_a_budget_that_the_wanted_share_breaks_is_told() -> None:
    curve = fit_curve(*make_trainings(8, 0.01, 2))
    factor = curve.factor_for(0.9, (0.2, 0.2))
    assert factor is not None
    assert curve.factor_for(0.9, (0.2, 0.2), max_params=params_share(factor)) == factor
    assert curve.factor_for(0.9, (0.2, 0.2), max_params=0.9 * params_share(factor)) is None


def test_nothing_narrower_than_was_measured_is_advised() -> None:
    curve = fit_curve(FACTORS, [0.7] * 5, [[0.1]] * 5)
    factor = curve.factor_for(0.5, [0.1])
    assert factor == pytest.approx(1 / 16, rel=0.01)
    assert factor >= 1 / 16


def test_parameters_go_with_the_square_of_the_width() -> None:
    def params(factor: float) -> int:
        arguments = {"stem": round(64 * factor), "widths": [round(w * factor) for w in (128, 256, 384)]}
        network = build_network(NetworkSpec("inception", (3, 16, 16), 10, arguments))
        return sum(p.numel() for p in network.parameters())

    for factor in (0.5, 0.25):
        assert params(factor) / params(1.0) == pytest.approx(params_share(factor), rel=0.05)
        assert factor_for_params(params_share(factor)) == factor
    assert factor_for_params(3.0) == 1


@pytest.mark.parametrize(
    ("factors", "scores", "told"),
    [
        ([1.0], [0.5], "narrower"),
        ([0.5, 0.25], [0.5, 0.4], "full width"),
        ([1.0, 0.0], [0.5, 0.4], "lie in"),
        ([1.0, 0.5], [0.0, 0.4], "positive score"),
        ([1.0, 0.5], [0.5], "length"),
    ],
)
def test_what_cannot_be_fitted_is_refused(factors: list[float], scores: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fit_curve(factors, scores, [[0.1]] * len(factors))
    with pytest.raises(ValueError, match="complexity measures"):
        TRUE.retained(0.5, (0.1,))
