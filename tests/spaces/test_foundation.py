"""From genome to network: the channels a brute-force selection keeps, and a network of exactly those."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import SEEDS, SHAPE, foundation_with, layouts, share_of, trunks
from surgery_networks import assert_same
from torch import nn

from spaces.foundation import Foundation, clusters_of
from spaces.genome import Genome

BY = st.sampled_from(["network", "stage", "group"])


def brute_force(foundation: Foundation, genome: Genome) -> dict[str, list[int]]:
    """Channel by channel: the blended rank, then the lower index."""
    trunk = foundation.trunks[genome.growth]
    widths = foundation.space.widths(genome)
    kept = {}
    for group, width in zip(trunk.layout.groups, widths, strict=True):
        weights = genome.blend[foundation.space.clusters[group.name]]
        table = trunk.ranks[group.name]
        score = [
            round(sum(w * table[row, channel] for row, w in enumerate(weights)), 9) for channel in range(group.size)
        ]
        best = sorted(range(group.size), key=lambda channel: (-score[channel], channel))
        kept[group.name] = sorted(best[:width])
    return kept


def widths_in(network: nn.Module, growth: tuple[int, ...]) -> np.ndarray:
    """Channels per group, counted in a network."""
    return np.array(
        [network.get_submodule(group.producers()[0].layer).weight.shape[0] for group in layouts()[growth].groups]
    )


@given(BY, st.sampled_from([1, 4]), SEEDS)
@settings(max_examples=40)
def test_kept_are_those_of_a_brute_force_selection(by: str, round_to: int, seed: int) -> None:
    foundation = foundation_with(by=by, round_to=round_to)
    genome = foundation.space.sample(np.random.default_rng(seed))
    found = {name: channels.tolist() for name, channels in foundation.kept(genome).items()}
    assert found == brute_force(foundation, genome)


@given(BY, SEEDS)
@settings(max_examples=30)
def test_narrower_genomes_of_one_blend_keep_a_part(by: str, seed: int) -> None:
    foundation = foundation_with(by=by)
    rng = np.random.default_rng(seed)
    genome = foundation.space.sample(rng)
    narrower = replace(genome, keep=tuple(k * rng.random() for k in genome.keep))
    wide, narrow = foundation.kept(genome), foundation.kept(narrower)
    assert all(set(narrow[name].tolist()) <= set(wide[name].tolist()) for name in wide)


def test_each_group_follows_the_blend_of_its_cluster() -> None:
    foundation = foundation_with(by="group")
    space = foundation.space
    even = space.uniform(0.5)
    followed = set()
    for name in layouts()[0, 0].names:
        rows = list(even.blend)
        rows[space.clusters[name]] = (1.0, 0.0, 0.0)
        changed = foundation.kept(replace(even, blend=tuple(rows)))
        differing = {n for n, channels in foundation.kept(even).items() if not np.array_equal(channels, changed[n])}
        assert differing <= {name}
        followed |= differing
    assert len(followed) > len(layouts()[0, 0].names) / 3


@given(SEEDS)
@settings(max_examples=30)
def test_genomes_masked_compact_and_expanded_agree(seed: int) -> None:
    foundation = foundation_with(budget=share_of(0.9, "params"), min_keep=0.6, min_width=0.8)
    genome = foundation.space.sample(np.random.default_rng(seed))
    trunk = foundation.trunk(genome)
    assert_same(trunk.network, trunk.layout, foundation.kept(genome), SHAPE, images=4)


@given(SEEDS)
@settings(max_examples=30)
def test_genome_to_network_to_genome(seed: int) -> None:
    foundation = foundation_with()
    space = foundation.space
    genome = space.sample(np.random.default_rng(seed))
    candidate = foundation.build(genome)
    counted = widths_in(candidate.network, genome.growth)
    assert counted.tolist() == space.widths(genome).tolist()
    assert {n: len(c) for n, c in candidate.kept.items()} == dict(
        zip(space.layout(genome).names, counted.tolist(), strict=True)
    )
    # Read back: the ratios that the network shows, at full width, are a genome of the same network.
    keep = list(genome.keep)
    for name, width, size in zip(space.layout(genome).names, counted, space.layout(genome).sizes, strict=True):
        keep[space.groups.index(name)] = width / size
    again = foundation.build(Genome(genome.growth, 1.0, tuple(keep), genome.blend))
    assert all(torch.equal(again.network.state_dict()[k], v) for k, v in candidate.network.state_dict().items())


def test_building_leaves_the_trunk_whole() -> None:
    foundation = foundation_with()
    before = {g: {k: v.clone() for k, v in t.network.state_dict().items()} for g, t in trunks().items()}
    for seed in range(5):
        with torch.no_grad():
            for parameter in foundation.build(
                foundation.space.sample(np.random.default_rng(seed))
            ).network.parameters():
                parameter.zero_()
    for growth, trunk in trunks().items():
        assert all(torch.equal(before[growth][k], v) for k, v in trunk.network.state_dict().items())


@pytest.mark.parametrize("by", ["network", "stage", "group"])
def test_clusters_are_numbered_without_gaps_over_all_growths(by: str) -> None:
    clusters = clusters_of(layouts(), by)
    assert set(clusters) == {name for layout in layouts().values() for name in layout.names}
    assert set(clusters.values()) == set(range(max(clusters.values()) + 1))
    sizes = {"network": 1, "stage": 2, "group": len(clusters)}
    assert len(set(clusters.values())) == sizes[by]


def test_stages_are_ordered_from_large_to_small_resolution() -> None:
    clusters = clusters_of(layouts(), "stage")
    assert clusters["stem.conv"] == clusters["stages.0.0.one.conv"] == 0
    assert clusters["stages.1.0.one.conv"] == clusters["stages.1.1.pool.conv"] == 1
