"""Splits are stratified, complete, disjoint, near their fractions, and a function of labels and seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workers.data.errors import DataError
from workers.data.split import apportion, limit_parts, split_rows

fractions = st.floats(0.02, 0.9)
seeds = st.integers(0, 2**64)


@st.composite
def labellings(draw: st.DrawFn, smallest: int = 3) -> np.ndarray:
    counts = draw(st.lists(st.integers(smallest, 40), min_size=2, max_size=8))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(draw(st.integers(0, 100))).permutation(labels)


@given(labellings(), seeds, fractions, fractions)
@settings(max_examples=150, deadline=None)
def test_three_splits_are_a_partition_with_every_class_in_each(labels, seed, validation, test):
    assume(validation + test < 0.98)
    rows = split_rows(labels, seed, validation, test)
    parts = (rows.train, rows.validation, rows.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part in parts:
        assert set(labels[part].tolist()) == set(labels.tolist())


@given(labellings(), seeds, fractions, fractions)
@settings(max_examples=150, deadline=None)
def test_fractions_hold_to_within_one_image_a_class(labels, seed, validation, test):
    assume(validation + test < 0.98)
    rows = split_rows(labels, seed, validation, test)
    for label, count in enumerate(np.bincount(labels)):
        # Where a fraction asks for less than one image of each split, one image each comes first.
        if min(count * test, count * validation, count * (1 - test - validation)) < 1:
            continue
        assert abs(np.sum(labels[rows.test] == label) - count * test) <= 1
        assert abs(np.sum(labels[rows.validation] == label) - count * validation) <= 1


def test_totals_hold_where_rounding_each_class_would_not():
    labels = np.repeat(np.arange(100), 12)
    rows = split_rows(labels, 0, 0.2, 0.2)
    assert (len(rows.train), len(rows.validation), len(rows.test)) == (720, 240, 240)


@given(labellings(), seeds)
@settings(max_examples=30, deadline=None)
def test_the_same_labels_and_seed_give_the_same_rows(labels, seed):
    one = split_rows(labels, seed, 0.2, 0.2, limit=len(labels) // 2 + 16)
    two = split_rows(labels.copy(), seed, 0.2, 0.2, limit=len(labels) // 2 + 16)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_another_seed_gives_other_rows():
    labels = np.repeat(np.arange(3), 50)
    first, second = split_rows(labels, 1, 0.2, 0.2), split_rows(labels, 2, 0.2, 0.2)
    assert set(first.test) != set(second.test)
    assert set(first.validation) != set(second.validation)


def test_the_draw_is_pinned():
    """Archives of runs name no rows, so a silent change of the draw would change what old runs were trained on."""
    rows = split_rows(np.arange(12) % 2, 7, 0.25, 0.25)
    assert (rows.train.tolist(), rows.validation.tolist(), rows.test.tolist()) == PINNED


def test_rows_stand_in_random_order():
    rows = split_rows(np.repeat(np.arange(4), 100), 0, 0.2)
    assert set(np.repeat(np.arange(4), 100)[rows.train[:40]]) == {0, 1, 2, 3}


@given(labellings(), seeds, st.integers(0, 300))
@settings(max_examples=100, deadline=None)
def test_limit_is_exact_stratified_and_leaves_the_test_split_alone(labels, seed, extra):
    classes = len(np.unique(labels))
    limit = 2 * classes + extra
    whole, cut = split_rows(labels, seed, 0.2, 0.2), split_rows(labels, seed, 0.2, 0.2, limit)
    np.testing.assert_array_equal(whole.test, cut.test)
    pool = len(whole.train) + len(whole.validation)
    assert len(cut.train) + len(cut.validation) == min(limit, pool)
    for part in (cut.train, cut.validation):
        assert set(labels[part].tolist()) == set(range(classes))


def test_limit_keeps_the_proportions():
    labels = np.repeat([0, 1], [300, 100])
    rows = split_rows(labels, 0, 0.25, limit=100)
    kept = np.concatenate([rows.train, rows.validation])
    assert np.bincount(labels[kept]).tolist() == [75, 25]
    assert len(rows.validation) == 25


def test_limit_too_small_is_refused_with_the_least_that_works():
    labels = np.repeat(np.arange(5), 20)
    with pytest.raises(DataError, match=r"limit 9 is too small.*at least 10"):
        split_rows(labels, 0, 0.2, 0.2, limit=9)
    assert len(split_rows(labels, 0, 0.2, 0.2, limit=10).train) == 5


def test_parts_given_apart_share_the_limit():
    train, validation = np.repeat(np.arange(3), 60), np.repeat(np.arange(3), 20)
    rows, others = limit_parts(train, validation, 40, seed=0)
    assert (len(rows), len(others)) == (30, 10)
    assert np.bincount(train[rows]).tolist() == [10, 10, 10]
    assert set(validation[others].tolist()) == {0, 1, 2}
    with pytest.raises(DataError, match="at least 6"):
        limit_parts(train, validation, 5, seed=0)


def test_parts_given_apart_are_whole_without_a_limit():
    rows, others = limit_parts(np.repeat([0, 1], 9), np.repeat([0, 1], 4), None, seed=3)
    assert sorted(rows.tolist()) == list(range(18))
    assert sorted(others.tolist()) == list(range(8))


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10), st.integers(0, 10)), min_size=1), st.data())
@settings(max_examples=100, deadline=None)
def test_apportion_sums_exactly_within_its_bounds(cells, data):
    quota = np.array([cell[0] for cell in cells])
    low = np.array([cell[1] for cell in cells])
    high = low + np.array([cell[2] for cell in cells])
    total = data.draw(st.integers(int(low.sum()), int(high.sum())))
    given_out = apportion(quota, low, high, total)
    assert given_out.sum() == total
    assert np.all(low <= given_out)
    assert np.all(given_out <= high)


PINNED: tuple[list[int], list[int], list[int]] = ([2, 3, 5, 7, 11, 0], [4, 10, 9], [1, 8, 6])
