"""Blending: ranks, weights and the channels that stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from spaces.blend import keep_channels, ranks, select
from spaces.criteria import rank_tables

SCORES = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.lists(st.integers(-50, 50), min_size=n, max_size=n), min_size=1, max_size=4)
)
"""Raw tables ``[criteria, C]`` of whole numbers: ties are frequent, monotone maps exact."""


@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), min_size=2, max_size=30))
def test_ranks_are_scipys_midranks_scaled(values: list[float]) -> None:
    scores = np.array(values)
    expected = (rankdata(scores, method="average") - 1) / (len(scores) - 1)
    assert np.array_equal(ranks(scores), expected)
    below = np.array([(scores < s).sum() + ((scores == s).sum() - 1) / 2 for s in scores])
    np.testing.assert_allclose(ranks(scores), below / (len(scores) - 1), atol=1e-15)


def test_ranks_of_constant_and_single_scores_say_nothing() -> None:
    assert ranks(np.array([4.0, 4.0, 4.0])).tolist() == [0.5, 0.5, 0.5]
    assert ranks(np.array([7.0])).tolist() == [0.5]
    assert ranks(np.array([])).tolist() == []


@given(SCORES, st.data())
@settings(max_examples=60)
def test_one_hot_weights_give_the_single_criterions_top(raw: list[list[int]], draw: st.DataObject) -> None:
    scores = np.array(raw, dtype=np.float64)
    row = draw.draw(st.integers(0, len(scores) - 1))
    width = draw.draw(st.integers(1, scores.shape[1]))
    table = rank_tables({"g": scores})["g"]
    told = table[row] if np.ptp(table[row]) else np.round(table.mean(axis=0), 12)
    top = sorted(range(scores.shape[1]), key=lambda i: (-told[i], i))[:width]
    assert keep_channels(table, np.eye(len(scores))[row].tolist(), width).tolist() == sorted(top)


def test_a_blend_of_criteria_that_are_left_out_gives_way_to_those_that_tell() -> None:
    scores = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 3.0, 1.0, 2.0]])
    table = rank_tables({"g": scores})["g"]
    assert keep_channels(table, [1.0, 0.0], 2).tolist() == [1, 3]


@given(SCORES, st.data())
@settings(max_examples=60)
def test_monotone_transforms_leave_the_selection(raw: list[list[int]], draw: st.DataObject) -> None:
    scores = np.array(raw, dtype=np.float64)
    weights = draw.draw(st.lists(st.floats(0, 1), min_size=len(scores), max_size=len(scores)))
    width = draw.draw(st.integers(1, scores.shape[1]))
    maps = [np.exp, lambda s: s**3, lambda s: 2 * s + 7, np.arctan]
    changed = np.array([draw.draw(st.sampled_from(maps))(row) for row in scores])
    kept = [keep_channels(rank_tables({"g": s})["g"], weights, width).tolist() for s in (scores, changed)]
    assert kept[0] == kept[1]


@given(SCORES, st.data())
@settings(max_examples=60)
def test_the_kept_are_sorted_unique_and_nested(raw: list[list[int]], draw: st.DataObject) -> None:
    table = rank_tables({"g": np.array(raw, dtype=np.float64)})["g"]
    weights = draw.draw(st.lists(st.floats(0, 1), min_size=len(raw), max_size=len(raw)))
    inner: set[int] = set()
    for width in range(1, table.shape[1] + 1):
        kept = keep_channels(table, weights, width)
        assert kept.tolist() == sorted(set(kept.tolist()))
        assert len(kept) == width
        assert inner <= set(kept.tolist())
        inner = set(kept.tolist())


def test_ties_go_to_the_lower_index() -> None:
    table = np.array([ranks(np.array([1.0, 2.0, 2.0, 2.0, 0.0]))])
    assert keep_channels(table, [1.0], 1).tolist() == [1]
    assert keep_channels(table, [1.0], 2).tolist() == [1, 2]
    assert keep_channels(np.full((2, 5), 0.5), [0.3, 0.7], 3).tolist() == [0, 1, 2]


def test_ties_up_to_rounding_are_ties() -> None:
    # Opposite orders at equal weights tie everywhere, though 0.1·a + 0.1·b is not the same float for all.
    table = np.array([np.linspace(0, 1, 11), np.linspace(1, 0, 11)])
    assert keep_channels(table, [0.1, 0.1], 4).tolist() == [0, 1, 2, 3]


def test_weights_count() -> None:
    table = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    assert keep_channels(table, [0.9, 0.1], 1).tolist() == [0]
    assert keep_channels(table, [0.1, 0.9], 1).tolist() == [2]
    assert keep_channels(table, [0.9, 0.1], 2).tolist() == [0, 1]


def test_select_answers_for_the_named_groups_only() -> None:
    tables = {"a": np.array([[0.0, 1.0]]), "b": np.array([[1.0, 0.0]]), "c": np.array([[0.5, 0.5]])}
    kept = select(tables, {"a": [1.0], "b": [1.0]}, {"a": 1, "b": 1})
    assert {name: value.tolist() for name, value in kept.items()} == {"a": [1], "b": [0]}
    with pytest.raises(KeyError):
        select(tables, {"a": [1.0]}, {"d": 1})
