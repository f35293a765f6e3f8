"""Blends in which each criteria cluster has one voice, and spaces that search blends alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import CRITERIA, SEEDS, share_of, space_with, trunks

from spaces.blend import keep_channels
from spaces.calibration import draw, step, strongest
from spaces.foundation import Foundation, condensed

KINDS = st.lists(st.integers(-1, 3), min_size=1, max_size=8).map(
    lambda labels: tuple(sorted(set(labels) - {-1}).index(x) if x >= 0 else -1 for x in labels)
)


def voices(kinds: tuple[int, ...], weights: np.ndarray) -> list[int]:
    """How many criteria of each cluster have a weight."""
    return [int(np.count_nonzero(weights[np.asarray(kinds) == kind])) for kind in range(-1, max(kinds) + 1)]


@given(KINDS, SEEDS)
def test_each_cluster_has_at_most_one_voice_and_the_silent_none(kinds: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = draw(kinds, rng)
    for weights in (drawn, step(kinds, drawn, rng), strongest(kinds, rng.random(len(kinds)))):
        assert weights.min() >= 0
        silent, *heard = voices(kinds, weights)
        assert silent == 0
        assert all(count <= 1 for count in heard)
        assert weights.any() == (max(kinds) >= 0)
    assert drawn.sum() == pytest.approx(1.0 if max(kinds) >= 0 else 0.0)


@given(KINDS, SEEDS)
def test_the_strongest_of_each_cluster_stays_and_nothing_changes_twice(kinds: tuple[int, ...], seed: int) -> None:
    weights = np.random.default_rng(seed).random(len(kinds)) + 0.01
    kept = strongest(kinds, weights)
    for kind in set(kinds) - {-1}:
        here = np.asarray(kinds) == kind
        assert kept[here].max() == weights[here].max()
    assert (strongest(kinds, kept) == kept).all()


def test_every_member_can_become_the_voice_of_its_cluster() -> None:
    kinds = (0, 0, 1, 0)
    seen: set[tuple[int, ...]] = set()
    weights = np.array([1.0, 0, 0, 0])
    for seed in range(200):
        weights = step(kinds, weights, np.random.default_rng(seed))
        seen.add(tuple(np.flatnonzero(weights)))
    assert seen >= {(0, 2), (1, 2), (2, 3)}


@given(st.sampled_from(["network", "stage", "group"]), st.floats(0.15, 0.9), SEEDS)
@settings(max_examples=20, deadline=None)
def test_where_blends_alone_are_searched_all_genomes_have_the_widths_of_the_budget(
    by: str, share: float, seed: int
) -> None:
    space = replace(space_with(share_of(share, "params"), by), varies_ratios=False)
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    children = [space.mutate(first, rng), space.crossover(first, second, rng)]
    children.append(space.from_vector(space.to_vector(first)))
    widest = space.widths(space.repair(space.uniform(1.0)))
    for genome in (first, second, *children):
        assert (space.widths(genome) == widest).all()
        assert space.budget.met(space.cost(genome))
    assert children[0].blend != first.blend
    assert children[2] == first
    assert len(space.dimensions()) == space.blends * len(CRITERIA)


@given(st.integers(0, len(CRITERIA) - 1), st.floats(0.2, 0.9))
@settings(max_examples=20, deadline=None)
def test_a_blend_of_one_criterion_keeps_what_the_criterion_alone_keeps(criterion: int, share: float) -> None:
    space = condensed(space_with(share_of(share, "params")), trunks(), 2)
    alone = np.eye(len(CRITERIA))[criterion]
    foundation = Foundation(space, trunks())
    genome = space.repair(space.uniform(1.0, tuple(alone)))
    trunk = foundation.trunk(genome)
    for name, kept in foundation.kept(genome).items():
        if space.kinds[space.clusters[name]][criterion] >= 0:
            assert (kept == keep_channels(trunk.ranks[name], alone, len(kept))).all()


def test_condensing_clusters_each_blends_criteria_by_its_own_groups() -> None:
    space = condensed(space_with(by="group"), trunks(), 2)
    assert len(space.kinds) == space.blends
    assert len(set(space.kinds)) > 1
    assert space.hash != space_with(by="group").hash
