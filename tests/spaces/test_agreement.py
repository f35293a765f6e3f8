"""Agreement of criteria against scipy and brute force; applicability by its invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom, spearmanr

from spaces.agreement import (
    LEAST_TOLD_APART,
    NOTICEABLE,
    applicable,
    expected_jaccard,
    jaccard,
    mean_agreement,
    spearman,
)
from spaces.blend import keep_channels, ranks

TABLES = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.lists(st.integers(-6, 6), min_size=n, max_size=n), min_size=2, max_size=5)
)
"""Raw scores ``[J, C]`` of whole numbers, with many ties and now and then a constant row."""


def ranked(raw: list[list[int]]) -> np.ndarray:
    return np.array([ranks(np.array(row, dtype=np.float64)) for row in raw])


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_spearman_is_scipys(raw: list[list[int]]) -> None:
    found = spearman(ranked(raw))
    assert np.array_equal(found, found.T, equal_nan=True)
    for (i, a), (j, b) in itertools.product(enumerate(raw), repeat=2):
        if len(set(a)) == 1 or len(set(b)) == 1:
            assert np.isnan(found[i, j])
        elif i == j:
            assert found[i, j] == 1
        else:
            assert found[i, j] == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_spearman_of_opposites_and_of_monotone_maps() -> None:
    scores = np.random.default_rng(0).uniform(0.1, 5, 40)
    table = np.array([ranks(row) for row in (scores, -scores, np.exp(scores), scores**3)])
    expected = np.array([[1, -1, 1, 1], [-1, 1, -1, -1], [1, -1, 1, 1], [1, -1, 1, 1]])
    np.testing.assert_allclose(spearman(table), expected, atol=1e-12)
    assert np.abs(spearman(table)).max() == 1


@given(TABLES, st.data())
@settings(max_examples=60, deadline=None)
def test_jaccard_counts_the_sets_that_pruning_takes(raw: list[list[int]], draw: st.DataObject) -> None:
    table = ranked(raw)
    size = table.shape[1]
    width = draw.draw(st.integers(1, size - 1))
    found = jaccard(table, width)
    assert np.array_equal(found, found.T, equal_nan=True)
    pruned = [set(range(size)) - set(keep_channels(row[None], [1.0], width).tolist()) for row in table]
    chance = expected_jaccard(size, size - width)
    for (i, a), (j, b) in itertools.product(enumerate(pruned), repeat=2):
        if len(set(raw[i])) == 1 or len(set(raw[j])) == 1:
            assert np.isnan(found[i, j])
        else:
            assert found[i, j] == pytest.approx((len(a & b) / len(a | b) - chance) / (1 - chance), abs=1e-12)
            assert found[i, j] <= 1
            assert a != b or found[i, j] == 1


@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 1), (5, 2), (6, 3), (7, 6), (6, 6)])
def test_chance_is_the_mean_over_all_sets(size: int, count: int) -> None:
    """The first set may be fixed: all are alike."""
    first = set(range(count))
    others = [set(other) for other in itertools.combinations(range(size), count)]
    brute = np.mean([len(first & other) / len(first | other) for other in others])
    assert expected_jaccard(size, count) == pytest.approx(brute, rel=1e-12)


@pytest.mark.parametrize(("size", "count"), [(64, 32), (512, 51), (2048, 1024)])
def test_chance_in_wide_groups_is_scipys(size: int, count: int) -> None:
    common = np.arange(count + 1)
    expected = float(hypergeom(size, count, count).pmf(common) @ (common / (2 * count - common)))
    assert expected_jaccard(size, count) == pytest.approx(expected, rel=1e-8)
    ratio = count / size
    assert expected_jaccard(size, count) == pytest.approx(ratio / (2 - ratio), rel=0.05)


def test_random_sets_are_at_zero_on_average() -> None:
    rng = np.random.default_rng(0)
    table = np.array([ranks(row) for row in rng.uniform(size=(120, 20))])
    found = jaccard(table, 8)[np.triu_indices(120, 1)]
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(120)  # rows, not pairs, are independent


@pytest.mark.parametrize("width", [0, 6])
def test_where_every_set_is_the_same_nothing_can_be_said(width: int) -> None:
    assert np.isnan(jaccard(np.array([ranks(np.arange(6.0)), ranks(-np.arange(6.0))]), width)).all()


def test_a_pair_is_averaged_over_the_groups_where_both_take_part() -> None:
    first = np.array([[1, 0.2, np.nan], [0.2, 1, np.nan], [np.nan] * 3])
    second = np.array([[1, 0.6, np.nan], [0.6, 1, np.nan], [np.nan, np.nan, 1]])
    found = mean_agreement([first, second])
    expected = np.array([[1, 0.4, np.nan], [0.4, 1, np.nan], [np.nan, np.nan, 1]])
    np.testing.assert_allclose(found, expected)


POSITIVE = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30)


@given(POSITIVE, st.integers(-60, 60), st.sampled_from([1, -1]))
def test_applicability_knows_no_scale(values: list[float], power: int, sign: int) -> None:
    scores = np.array([values])
    assert np.array_equal(applicable(scores), applicable(sign * scores * 2.0**power))


@given(st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=1, max_size=25))
def test_applicability_counts_the_pairs(values: list[float]) -> None:
    pairs = list(itertools.combinations(values, 2))
    gaps = [abs(a - b) - NOTICEABLE * max(abs(a), abs(b)) for a, b in pairs]
    assume(all(gap == 0 or abs(gap) > 1e-9 for gap in gaps if gap))
    assume(not any(a != b and abs(gap) < 1e-9 for (a, b), gap in zip(pairs, gaps, strict=True)))
    apart = sum(gap > 0 for gap in gaps)
    expected = bool(pairs) and apart >= max(LEAST_TOLD_APART * len(pairs), 1)
    assert applicable(np.array([values])).tolist() == [expected]


@given(st.floats(-1e6, 1e6), st.integers(0, 10**6), st.integers(1, 200))
def test_constants_and_float_noise_tell_nothing(level: float, seed: int, size: int) -> None:
    noise = np.random.default_rng(seed).uniform(-1, 1, size)
    assert applicable(np.array([np.full(size, level), level * (1 + 1e-7 * noise)])).tolist() == [False, False]


@given(st.integers(0, 10**6), st.integers(30, 200), st.sampled_from([0.0, 1e-9, 1e9]))
def test_one_channel_beside_itself_decides_nothing(seed: int, size: int, strange: float) -> None:
    noise = np.random.default_rng(seed).uniform(0, 1, size)
    scores = np.array([1 + 1e-7 * noise, 1 + noise])
    scores[:, seed % size] = strange
    assert applicable(scores).tolist() == [False, True]


def test_a_tenth_of_dead_channels_is_worth_hearing() -> None:
    scores = np.ones((1, 60))
    scores[0, :6] = 0
    assert applicable(scores).all()


def test_shapes_at_the_edge() -> None:
    assert applicable(np.ones((3, 1))).tolist() == [False] * 3
    assert applicable(np.empty((0, 4))).shape == (0,)
    assert np.isnan(spearman(np.full((2, 1), 0.5))).all()
