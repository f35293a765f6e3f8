"""Groups as tracing finds them: names, keeping, locking, and what tracing leaves alone."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
from surgery_networks import CUT, SIDE, SOUND, CatAdd, CatDepthwise, CatGrouped, Flat, built
from torch import Tensor, nn

from spaces.groups import find_groups
from spaces.layout import make_layout

EXAMPLE = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64)


def test_a_group_names_all_who_carry_it() -> None:
    group = find_groups(built(lambda: Flat(view=True)), EXAMPLE).group("conv")
    assert str(group) == "conv: 5 channels\n  => made by conv [0..4]\n  => read by first [0..44]"
    (reader,) = group.consumers()
    assert reader.channels.tolist() == [c for c in range(5) for _ in range(9)]
    with pytest.raises(KeyError, match="no group 'head'; there are conv, first"):
        find_groups(built(lambda: Flat(view=True)), EXAMPLE).group("head")


@pytest.mark.parametrize("name", [*SOUND, *CUT])
def test_names_are_unique_and_every_channel_has_one_group(name: str) -> None:
    network = built({**SOUND, **CUT}[name])
    found = find_groups(network, EXAMPLE)
    names = [g.name for g in found.groups]
    assert len(set(names)) == len(names)
    seen: set[tuple[str, str, int]] = set()
    for group in found.groups:
        for m in group.members:
            assert set(m.channels.tolist()) == set(range(group.size))
            places = {(m.layer, m.side, p) for p in m.positions.tolist()}
            assert len(places) == len(m.positions)
            assert not places & seen
            seen |= places


def test_halves_that_part_ways_are_groups_of_their_own() -> None:
    found = find_groups(built(CatAdd), EXAMPLE)
    assert [g.size for g in found.groups] == [4, 5]
    layers = [{m.layer for m in g.producers()} for g in found.groups]
    assert layers == [{"whole", "left"}, {"whole", "right"}]


@pytest.mark.parametrize("name", SOUND)
def test_the_classifier_is_locked(name: str) -> None:
    locked = {entry.name: entry.reason for entry in find_groups(built(SOUND[name]), EXAMPLE).locked}
    assert locked["head"] == "feeds the network's output"


def test_the_users_list_is_kept() -> None:
    network = built(CatDepthwise)
    found = find_groups(network, EXAMPLE, keep=["l*"])
    assert [g.name for g in found.groups] == ["right"]
    (left,) = (entry for entry in found.locked if entry.name == "left")
    assert left.reason == "kept by the configuration ('l*' matches 'left')"
    # What is added to a kept layer's channels must stay as well.
    assert not find_groups(built(CatAdd), EXAMPLE, keep=["whole"]).groups


@pytest.mark.parametrize("pattern", ["laft", "norm", ""])
def test_a_pattern_that_would_keep_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=rf"network.keep: '{pattern}' matches no convolution or linear layer"):
        find_groups(built(CatDepthwise), EXAMPLE, keep=["left", pattern])


def test_tracing_leaves_the_network_as_it_was() -> None:
    network = built(CatDepthwise).train()
    network.norm.eval()  # type: ignore[union-attr]
    network.left.weight.requires_grad_(False)  # type: ignore[union-attr]
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        make_layout(network, EXAMPLE)
    assert {n for n, m in network.named_modules() if not m.training} == {"norm"}
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == ["left.weight"]
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_frozen_networks_have_the_same_groups() -> None:
    free, frozen = built(CatAdd), built(CatAdd).requires_grad_(False)
    assert str(find_groups(frozen, EXAMPLE).groups) == str(find_groups(free, EXAMPLE).groups)


class Breaks(nn.Module):
    """Its forward pass fails."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no way through")


class NoTensor(Breaks):
    """Its forward pass ends outside autograd."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.conv(x).detach().numpy())


@pytest.mark.parametrize("kind", [Breaks, NoTensor])
def test_untraceable_networks_are_refused_by_name(kind: type[nn.Module]) -> None:
    network = kind().double().train()
    with pytest.raises(ValueError, match=rf"network.name: .* {kind.__name__} cannot be traced.*\[3, 6, 6\]"):
        find_groups(network, EXAMPLE)
    assert all(m.training for m in network.modules())


class Parametered(nn.Module):
    """A bare parameter scales the channels of ``conv``; a layer norm and a group norm see those of the next two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.second = nn.Conv2d(4, 6, 1)
        self.mix = nn.GroupNorm(2, 6)
        self.third = nn.Conv2d(6, 5, 1)
        self.spread = nn.BatchNorm3d(5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.third(self.mix(self.second(self.conv(x) * self.scale)))
        return self.head(self.spread(x.unsqueeze(4)).mean(dim=(2, 3, 4)))


def test_what_cannot_be_gathered_is_locked_with_its_reason() -> None:
    layout = make_layout(built(Parametered), EXAMPLE)
    reasons = {entry.name: entry.reason for entry in layout.locked}
    assert not layout.groups
    assert "bare parameter" in reasons["conv"]
    assert "GroupNorm 'mix'" in reasons["second"]
    assert "BatchNorm3d 'spread'" in reasons["third"]


def test_traced_networks_can_be_freed() -> None:
    network = built(CatGrouped)
    gone = [weakref.ref(m) for m in network.modules()]
    layout = make_layout(network, EXAMPLE)
    del network
    gc.collect()
    assert all(ref() is None for ref in gone)
    assert isinstance(layout.sizes, np.ndarray)
