"""The compact network computes what the masked base network computes: the gold test of surgery."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from surgery_networks import CUT, SIDE, SOUND, CatGrouped, assert_same, built, layout_in, lively, random_kept

from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network

SEEDS = st.integers(0, 2**32 - 1)
SMALL = (3, SIDE, SIDE)

# The fast three cover residual sums, concatenation and depthwise convolution.
FAST = ("resnet18", "googlenet", "mobilenet_v2")
BIG = ("resnet50", "vgg16_bn", "inception_v3", "densenet121")


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in BIG)])
def test_torchvisions_networks(name: str) -> None:
    shape = (3, 32, 32)
    network = lively(build_network(NetworkSpec(name, shape, 10), torch.Generator().manual_seed(3)), shape)
    layout = make_layout(network, torch.zeros(2, *shape, dtype=torch.float64))
    assert len(layout.locked) == 1, "only the classifier is locked"
    assert_same(network, layout, random_kept(layout, np.random.default_rng(0), 0.5), shape)


@pytest.mark.parametrize("name", SOUND)
@given(seed=SEEDS)
@settings(max_examples=12)
def test_networks_that_are_easily_cut_wrong(name: str, seed: int) -> None:
    network = built(SOUND[name], seed % 7)
    layout = make_layout(network, torch.zeros(2, *SMALL, dtype=torch.float64))
    assert_same(network, layout, random_kept(layout, np.random.default_rng(seed)), SMALL)


@pytest.mark.parametrize("name", CUT)
@given(seed=SEEDS)
@settings(max_examples=8)
def test_what_cannot_be_cut_is_locked_and_the_rest_agrees(name: str, seed: int) -> None:
    network = built(CUT[name], seed % 7)
    layout = layout_in(network)
    assert "conv" in {entry.name for entry in layout.locked}
    assert not any(m.layer == "conv" and 0 in m.positions for g in layout.groups for m in g.members)
    assert_same(network, layout, random_kept(layout, np.random.default_rng(seed)), SMALL)


@pytest.mark.parametrize("sizes", [(4, 4, 8, 2), (3, 5, 8, 4), (2, 6, 16, 8), (4, 4, 4, 4), (3, 5, 4, 2)])
def test_a_grouped_convolution_behind_a_concatenation_is_locked_by_name(sizes: tuple[int, int, int, int]) -> None:
    network = built(lambda: CatGrouped(*sizes))
    layout = make_layout(network, torch.zeros(2, *SMALL, dtype=torch.float64))
    assert [g.name for g in layout.groups] == ["after"]
    reasons = {entry.name: entry.reason for entry in layout.locked}
    assert all("'grouped'" in reasons[name] for name in ("left", "right"))
    assert_same(network, layout, random_kept(layout, np.random.default_rng(0)), SMALL)
