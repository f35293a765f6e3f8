"""Verdicts claim what the seeds show, and no more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.report import judge, tally

accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=6)


def test_paired_interval_is_the_t_interval_of_the_differences() -> None:
    chosen, control = [0.97, 0.98, 0.99], [0.96, 0.975, 0.97]
    verdict = judge(chosen, control, "uniform")
    reference = stats.ttest_rel(chosen, control).confidence_interval(0.95)
    assert verdict.difference == pytest.approx(100 * (2.94 - 2.905) / 3)
    assert (verdict.low, verdict.high) == pytest.approx((100 * reference.low, 100 * reference.high))
    assert verdict.paired
    assert verdict.seeds == 3


def test_unequal_numbers_are_compared_by_welch() -> None:
    chosen, control = [0.97, 0.98, 0.99, 0.98], [0.91, 0.93, 0.92]
    verdict = judge(chosen, control, "random")
    reference = stats.ttest_ind(chosen, control, equal_var=False).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((100 * reference.low, 100 * reference.high))
    assert verdict.beat is True
    assert not verdict.paired
    assert verdict.seeds == 3


def test_sentences() -> None:
    won = judge([0.980, 0.985, 0.982], [0.970, 0.976, 0.975], "uniform")
    assert won.sentence == "beat uniform ratios by 0.9 points [0.5, 1.2] (3 seeds)"
    lost = judge([0.970, 0.976, 0.975], [0.980, 0.985, 0.982], "scratch")
    assert lost.sentence.startswith("LOST to the same network from scratch by 0.9 points [−")
    even = judge([0.97, 0.98, 0.99], [0.98, 0.97, 0.985], "something else")
    assert even.sentence.startswith("was not told apart from something else: +0.2 points [−")


@pytest.mark.parametrize(
    ("chosen", "control", "seeds"),
    [
        ([0.9], [0.5], 1),
        ([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], 3),
        ([0.9, 0.9], [0.8], 1),
        ([0.9, math.nan], [0.8, 0.8], 1),
    ],
)
def test_without_spread_or_seeds_nothing_is_claimed(chosen: list[float], control: list[float], seeds: int) -> None:
    verdict = judge(chosen, control, "uniform")
    assert verdict.beat is None
    assert verdict.low is None
    assert verdict.high is None
    assert verdict.seeds == seeds
    assert verdict.difference is not None
    assert "not told apart" in verdict.sentence


@pytest.mark.parametrize(("chosen", "control"), [([], []), ([0.9], []), ([math.nan], [0.8]), ([0.9, 0.8], [math.nan])])
def test_nothing_to_compare(chosen: list[float], control: list[float]) -> None:
    verdict = judge(chosen, control, "uniform")
    assert (verdict.difference, verdict.beat, verdict.seeds) == (None, None, 0)
    assert "could not be compared" in verdict.sentence


def test_a_failed_seed_is_left_out_with_its_partner() -> None:
    whole = judge([0.97, 0.98, 0.99], [0.96, 0.975, 0.97], "uniform")
    spoilt = judge([0.97, 0.98, math.nan, 0.99], [0.96, 0.975, 0.1, 0.97], "uniform")
    assert spoilt == whole


@given(accuracies, accuracies)
def test_swapping_the_sides_turns_the_verdict_round(a: list[float], b: list[float]) -> None:
    ours, theirs = judge(a, b, "x"), judge(b, a, "x")
    assert ours.beat is (None if theirs.beat is None else not theirs.beat)
    assert ours.difference == pytest.approx(-(theirs.difference or 0.0), abs=1e-9)


@given(accuracies, st.data())
def test_a_claim_needs_an_interval_without_zero(a: list[float], data: st.DataObject) -> None:
    verdict = judge(a, data.draw(st.lists(st.floats(0, 1), min_size=len(a), max_size=len(a))), "x")
    if verdict.low is None or verdict.high is None:
        assert verdict.beat is None
        return
    assert verdict.difference is not None
    assert verdict.low <= verdict.difference <= verdict.high
    assert (verdict.beat is None) is (verdict.low <= 0 <= verdict.high)
    assert ("LOST" in verdict.sentence) is (verdict.beat is False)
    assert ("beat x" in verdict.sentence) is (verdict.beat is True)


def test_tally_says_losses_first() -> None:
    won = judge([0.98, 0.985], [0.88, 0.886], "uniform")
    lost = judge([0.88, 0.886], [0.98, 0.985], "scratch")
    open_ = judge([0.9], [0.8], "random")
    assert tally([won, open_, lost]) == (
        "LOST to the same network from scratch; beat uniform ratios; was not told apart from random search"
    )
    assert tally([]) == ""
