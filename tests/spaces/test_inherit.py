"""Children of trained, pruned parents: what they inherit, and that growing changes nothing of what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spaces.criteria import rank_tables, resolve, score_groups
from spaces.foundation import Foundation, Trunk, clusters_of
from spaces.genome import Genome
from spaces.groups import example_input
from spaces.growth import grow
from spaces.inherit import Parent, carrying, inherit, kept_by_child
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.space import Space

SPEC = NetworkSpec("inception", (1, 6, 6), 3, {"stem": 6, "widths": [12, 16], "modules": [1, 1]})
GROWTHS = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]
IMAGES = torch.randn(24, *SPEC.shape, generator=torch.Generator().manual_seed(0))


def make_foundation() -> Foundation:
    base = disturbed(build_network(SPEC, torch.Generator().manual_seed(1)), 2)
    trunks = {}
    for growth in GROWTHS:
        network = grow(base, growth, IMAGES) if any(growth) else base
        layout = make_layout(network, example_input(SPEC.shape))
        scores = score_groups(
            network, layout, resolve(("l1", "l2")), IMAGES, torch.arange(24) % 3, 8, lambda *_: torch.Generator()
        )
        trunks[growth] = Trunk(network, layout, rank_tables(scores))
    layouts = {growth: trunk.layout for growth, trunk in trunks.items()}
    return Foundation(Space(layouts, ("l1", "l2"), clusters_of(layouts, "network")), trunks)


def disturbed(network: nn.Module, seed: int) -> nn.Module:
    """As if it had been trained: every weight and statistic has moved."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=rng)
                value.copy_(value + 0.1 * (noise + (0 if "running_var" in name else -0.5)))
    return network.eval()


FOUNDATION = make_foundation()
SPACE = FOUNDATION.space


def make_parent(growth: tuple[int, ...], seed: int) -> tuple[Parent, Genome]:
    rng = np.random.default_rng(seed)
    keep = tuple(rng.uniform(0.2, 1.0, len(SPACE.groups)))
    genome = SPACE.normalise(Genome(growth, 1.0, keep, ((0.5, 0.5),)))
    candidate = FOUNDATION.build(genome)
    return Parent(growth, candidate.kept, disturbed(candidate.network, seed)), genome


def keeping(genome: Genome, growth: tuple[int, ...], kept: Mapping[str, np.ndarray]) -> Genome:
    """``genome`` grown by ``growth``, as wide in new groups as ``kept`` says."""
    sizes = dict(zip(SPACE.layouts[growth].names, SPACE.layouts[growth].sizes.tolist(), strict=True))
    keep = [
        len(kept[name]) / sizes[name] if name in kept else own
        for name, own in zip(SPACE.groups, genome.keep, strict=True)
    ]
    return replace(genome, growth=growth, keep=tuple(keep))


@torch.no_grad()
def logits(network: nn.Module) -> torch.Tensor:
    return torch.as_tensor(network.eval()(IMAGES))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([((0, 0), g) for g in GROWTHS[1:]] + [((0, 1), (1, 1)), ((0, 1), (0, 2))]), st.integers(0, 10**6)
)
def test_growing_a_pruned_and_trained_parent_changes_nothing(
    growths: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    before, after = growths
    parent, genome = make_parent(before, seed)
    child = keeping(genome, after, carrying(FOUNDATION, after, before, parent.kept))
    candidate = inherit(FOUNDATION, child, parent, IMAGES)
    torch.testing.assert_close(logits(candidate.network), logits(parent.network), rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in candidate.network.parameters()) == SPACE.cost(child).params
    assert sum(p.numel() for p in candidate.network.parameters()) > sum(p.numel() for p in parent.network.parameters())


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(GROWTHS), st.integers(0, 10**6))
def test_a_child_as_wide_as_its_parent_has_its_very_weights(growth: tuple[int, ...], seed: int) -> None:
    parent, genome = make_parent(growth, seed)
    before = {name: value.clone() for name, value in parent.network.state_dict().items()}
    candidate = inherit(FOUNDATION, genome, parent, IMAGES)
    assert candidate.network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in candidate.network.state_dict().items())
    with torch.no_grad():
        next(candidate.network.parameters()).add_(1)
    assert torch.equal(next(parent.network.parameters()), next(iter(before.values()))), "nothing is shared"


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(GROWTHS), st.integers(0, 10**6), st.floats(0.2, 1.0))
def test_a_narrower_child_keeps_some_of_what_its_parent_kept(growth: tuple[int, ...], seed: int, share: float) -> None:
    parent, genome = make_parent(growth, seed)
    sizes = dict(zip(SPACE.layouts[growth].names, SPACE.layouts[growth].sizes.tolist(), strict=True))
    fewer = {name: c[: max(1, int(len(c) * share))] for name, c in parent.kept.items()}
    child = keeping(genome, growth, fewer)
    candidate = inherit(FOUNDATION, child, parent, IMAGES)
    assert set(candidate.kept) == set(sizes)
    for name, channels in candidate.kept.items():
        assert len(channels) == len(fewer[name])
        assert set(channels.tolist()) <= set(parent.kept[name].tolist())
        assert channels.tolist() == sorted(channels.tolist())
    stem = parent.network.get_submodule("stem.conv").weight
    place = {c: i for i, c in enumerate(parent.kept["stem.conv"].tolist())}
    taken = [place[c] for c in candidate.kept["stem.conv"].tolist()]
    assert torch.equal(candidate.network.get_submodule("stem.conv").weight, stem[taken])


def test_what_cannot_be_inherited_is_refused() -> None:
    parent, genome = make_parent((0, 1), 3)
    with pytest.raises(ValueError, match=r"cannot inherit from a parent grown by \(0, 1\)"):
        kept_by_child(FOUNDATION, replace(genome, growth=(0, 0)), parent.growth, parent.kept)
    narrow = {name: channels[:1] for name, channels in parent.kept.items()}
    with pytest.raises(ValueError, match="channels cannot inherit from 1"):
        kept_by_child(FOUNDATION, genome, parent.growth, narrow)
