"""Criteria clustering: alike criteria land together, whatever their scale or order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.blend import ranks
from spaces.condense import SILENT, cluster_criteria

SEEDS = st.integers(0, 2**32 - 1)


def tables(rng: np.random.Generator, criteria: int, groups: int = 2) -> list[np.ndarray]:
    """Ranks of random scores, of groups of different sizes."""
    return [np.array([ranks(rng.normal(size=8 + 5 * g)) for _ in range(criteria)]) for g in range(groups)]


@given(SEEDS, st.integers(2, 7), st.integers(1, 8))
def test_clusters_are_numbered_by_their_first_criterion_and_no_more_than_wanted(
    seed: int, criteria: int, count: int
) -> None:
    found = cluster_criteria(tables(np.random.default_rng(seed), criteria), count)
    firsts = [found.index(kind) for kind in range(max(found) + 1)]
    assert firsts == sorted(firsts)
    assert set(found) == set(range(len(firsts)))
    assert len(firsts) <= min(count, criteria)


@given(SEEDS)
def test_one_cluster_each_where_as_many_are_wanted_as_there_are(seed: int) -> None:
    assert cluster_criteria(tables(np.random.default_rng(seed), 4), 4) == (0, 1, 2, 3)


@given(SEEDS, st.integers(2, 4))
def test_a_criterion_and_its_cube_are_never_parted(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=(3, size)) for size in (9, 14)]
    both = [np.array([ranks(row) for row in [*some, *some**3]]) for some in scores]
    found = cluster_criteria(both, min(count, 3))
    assert found[:3] == found[3:]


@given(SEEDS)
def test_two_planted_families_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    planted = []
    for size in (20, 40):
        families = rng.normal(size=(2, size))
        noisy = [families[i % 2] + 0.1 * rng.normal(size=size) for i in range(6)]
        planted.append(np.array([ranks(row) for row in noisy]))
    if all(abs(np.corrcoef(table)[0, 1]) < 0.6 for table in planted):
        assert cluster_criteria(planted, 2) == (0, 1, 0, 1, 0, 1)


def test_what_tells_nothing_apart_is_in_no_cluster() -> None:
    one, two = tables(np.random.default_rng(0), 4)
    one[2], two[2] = 0.5, 0.5
    one[1] = 0.5
    found = cluster_criteria([one, two], 2)
    assert found[2] == SILENT
    assert found[1] != SILENT, "it speaks in the second group"
    assert cluster_criteria([np.full((3, 6), 0.5)], 2) == (SILENT,) * 3


def test_the_distance_is_the_mean_over_the_groups() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(2, 60))
    alike = np.array([ranks(base[0]), ranks(base[0] + 0.01 * base[1]), ranks(base[1])])
    apart = np.array([ranks(base[0]), ranks(-base[0]), ranks(base[0] + 0.01 * base[1])])
    assert cluster_criteria([alike], 2) == (0, 0, 1)
    assert cluster_criteria([apart], 2) == (0, 1, 0)
    assert cluster_criteria([alike, apart, apart], 2) == (0, 1, 0)


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_criterion_is_a_cluster(count: int) -> None:
    assert cluster_criteria(tables(np.random.default_rng(0), 1), count) == (0,)
