"""Forecasts: the scale, the process against brute force, and the honesty of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from search.surrogate.predictor import FEWEST, NORMAL_90, Predictor, _reach, _spread
from search.surrogate.scale import accuracy_of, log_odds, sampling_variance

IMAGES = 300


def problem(seed: int, count: int, luck: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Inputs ``[count, 6]``, of which three matter, and accuracies measured on :data:`IMAGES` images."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)) * [1, 10, 0.1, 1, 1, 1] + [0, 5, 0, 0, 0, 0]
    odds = 1.5 + x[:, 0] + 0.05 * (x[:, 1] - 5) ** 2 / 10 + 5 * np.tanh(x[:, 2] * 3) + rng.normal(0, luck, count)
    return x, rng.binomial(IMAGES, accuracy_of(odds)) / IMAGES


@given(st.lists(st.integers(0, IMAGES), min_size=2, max_size=20))
def test_log_odds_are_finite_rise_with_accuracy_and_come_back(hits: list[int]) -> None:
    accuracies = np.array(hits) / IMAGES
    odds = log_odds(accuracies, IMAGES)
    assert np.isfinite(odds).all()
    assert (np.argsort(odds, kind="stable") == np.argsort(accuracies, kind="stable")).all()
    assert np.abs(accuracy_of(odds) - accuracies).max() <= 0.5 / IMAGES


@pytest.mark.parametrize("p", [0.3, 0.7, 0.9])
def test_the_sampling_variance_is_that_of_repeated_measurements(p: float) -> None:
    measured = log_odds(np.random.default_rng(0).binomial(IMAGES, p, 20_000) / IMAGES, IMAGES)
    assert measured.var() == pytest.approx(float(sampling_variance(np.log(p / (1 - p)), IMAGES)), rel=0.05)


def test_what_is_left_out_is_not_seen() -> None:
    x, accuracies = problem(0, 30)
    honest = Predictor(x, x, accuracies, IMAGES).left_out.mean
    noise = np.random.default_rng(1).permutation(accuracies)
    assert stats.kendalltau(honest, accuracies).statistic > 0.5
    assert abs(Predictor(x, x, noise, IMAGES).tau) < 0.35, "on chance there is nothing to foretell"


@pytest.mark.parametrize("seed", range(3))
def test_it_ranks_what_it_has_not_seen(seed: int) -> None:
    x, accuracies = problem(seed, 140)
    predictor = Predictor(x[:40], x[:40], accuracies[:40], IMAGES)
    forecast = predictor.predict(x[40:], x[40:])
    ceiling = stats.kendalltau(accuracies[40:], problem(seed, 140, luck=0.0)[1][40:]).statistic
    assert stats.kendalltau(forecast.mean, accuracies[40:]).statistic > 0.7 < ceiling
    assert predictor.tau > 0.6


def test_ninety_percent_intervals_hold_about_ninety_percent() -> None:
    held = []
    for seed in range(12):
        x, accuracies = problem(seed, 120)
        forecast = Predictor(x[:40], x[:40], accuracies[:40], IMAGES).predict(x[40:], x[40:])
        assert (forecast.low < forecast.accuracy).all()
        assert (forecast.accuracy < forecast.high).all()
        assert (forecast.model < forecast.deviation).all()
        held.append(np.mean((forecast.low <= accuracies[40:]) & (accuracies[40:] <= forecast.high)))
    assert 0.84 < np.mean(held) < 0.96


@given(arrays(float, st.integers(5, 60), elements=st.floats(0, 50)))
def test_the_two_factors_are_the_mean_square_and_the_reach_of_what_was_missed(misses: np.ndarray) -> None:
    assert np.square(np.append(misses, np.ones(5)) / _spread(misses)).mean() == pytest.approx(1.0)
    held = np.count_nonzero(misses <= _reach(misses) * NORMAL_90 * (1 + 1e-12))
    assert held >= min(0.9 * (len(misses) + 1), len(misses))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_scale_and_place_of_inputs_do_not_matter_nor_does_a_constant_one(seed: int) -> None:
    x, accuracies = problem(seed, 20)
    rng = np.random.default_rng(seed)
    other = np.column_stack([x * 2.0 ** rng.integers(-3, 4, 6) + rng.integers(-4, 4, 6), np.full(20, 7.0)])
    one, two = Predictor(x, x, accuracies, IMAGES), Predictor(other, x, accuracies, IMAGES)
    assert one.predict(x, x).mean == pytest.approx(two.predict(other, x).mean, abs=0.05)


def test_the_same_trainings_give_the_same_forecasts_to_the_bit() -> None:
    x, accuracies = problem(5, 30)
    first, second = (Predictor(x, x, accuracies, IMAGES).predict(x, x) for _ in range(2))
    assert (first.mean == second.mean).all()
    assert (first.deviation == second.deviation).all()


def test_trainings_that_all_ended_alike_are_no_failure() -> None:
    x, _ = problem(0, 12)
    forecast = Predictor(x, x, np.full(12, 0.9), IMAGES).predict(x + 1, x + 1)
    assert forecast.accuracy == pytest.approx(0.9, abs=0.02)
    assert np.isfinite(forecast.deviation).all()


def test_too_few_trainings_are_refused() -> None:
    x, accuracies = problem(0, FEWEST - 1)
    with pytest.raises(ValueError, match=f"at least {FEWEST} trainings, there are {FEWEST - 1}"):
        Predictor(x, x, accuracies, IMAGES)
