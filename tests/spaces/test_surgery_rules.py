"""What surgery promises besides sameness: sizes declared, nothing shared, nothing touched, bad selections refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from surgery_networks import SIDE, SOUND, CatDepthwise, Flat, assert_same, built, random_kept
from torch import nn

from spaces.layout import Layout, make_layout
from spaces.surgery import compact, expand, make_plan, masked

SHAPE = (3, SIDE, SIDE)


def traced(network: nn.Module) -> Layout:
    return make_layout(network, torch.zeros(2, *SHAPE, dtype=torch.float64))


@pytest.mark.parametrize("name", SOUND)
def test_declared_sizes_match_the_weights(name: str) -> None:
    network = built(SOUND[name])
    layout = traced(network)
    small = compact(network, layout, random_kept(layout, np.random.default_rng(5)))
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[0] == module.out_channels
            assert module.weight.shape[1] == module.in_channels // module.groups
        elif isinstance(module, nn.Linear):
            assert tuple(module.weight.shape) == (module.out_features, module.in_features)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean.shape == (module.num_features,)  # type: ignore[union-attr]


def test_one_channel_is_enough() -> None:
    for make in SOUND.values():
        network = built(make)
        layout = traced(network)
        assert_same(network, layout, {g.name: np.array([g.size - 1]) for g in layout.groups}, SHAPE)


def test_nothing_is_shared_and_nothing_touched() -> None:
    network = built(CatDepthwise).train()
    network.head.weight.requires_grad_(False)  # type: ignore[union-attr]
    layout = traced(network)
    before = copy.deepcopy(network.state_dict())
    kept = {layout.groups[0].name: np.array([0, 2])}
    own = {t.data_ptr() for t in network.state_dict().values()}
    for twin in (compact(network, layout, kept), masked(network, layout, kept)):
        assert twin.training
        assert not twin.head.weight.requires_grad  # type: ignore[union-attr]
        assert twin.left.weight.requires_grad  # type: ignore[union-attr]
        assert not own & {t.data_ptr() for t in twin.state_dict().values()}
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_keeping_all_is_a_copy() -> None:
    network = built(CatDepthwise)
    layout = traced(network)
    for kept in ({}, {g.name: np.arange(g.size) for g in layout.groups}):
        twin = compact(network, layout, kept).state_dict()
        assert all(torch.equal(twin[k], v) for k, v in network.state_dict().items())


def test_the_kept_weights_are_the_named_ones() -> None:
    network = built(lambda: Flat(view=False))
    layout = traced(network)
    small = compact(network, layout, {"conv": np.array([1, 4])})
    assert torch.equal(small.conv.weight, network.conv.weight[[1, 4]])  # type: ignore[union-attr,index]
    columns = [*range(9, 18), *range(36, 45)]
    assert torch.equal(small.first.weight, network.first.weight[:, columns])  # type: ignore[union-attr,index]


def test_expansion_after_training_keeps_what_was_learnt() -> None:
    network = built(CatDepthwise)
    layout = traced(network)
    kept = random_kept(layout, np.random.default_rng(2))
    small = compact(network, layout, kept)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(expand(small, network, layout, kept)(x), small(x))
    assert all((v > 0).all() for k, v in expand(small, network, layout, kept).state_dict().items() if "_var" in k)
    again = compact(expand(small, network, layout, kept), layout, kept).state_dict()
    assert all(torch.equal(again[k], v) for k, v in small.state_dict().items())


def test_expansion_keeps_a_variance_of_zero() -> None:
    network = built(CatDepthwise)
    layout = traced(network)
    kept = random_kept(layout, np.random.default_rng(2), 0.5)
    small = compact(network, layout, kept)
    small.norm.running_var[0] = 0  # type: ignore[union-attr,index,operator]
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(expand(small, network, layout, kept)(x), small(x))


@pytest.mark.parametrize("channels", [[], [-1], [0, 99]])
def test_impossible_channels_are_refused_by_group(channels: list[int]) -> None:
    network = built(CatDepthwise)
    layout = traced(network)
    with pytest.raises(ValueError, match="group 'left' must keep between 1 and 4"):
        compact(network, layout, {"left": np.array(channels, dtype=np.int64)})


def test_unknown_groups_are_refused() -> None:
    network = built(CatDepthwise)
    with pytest.raises(ValueError, match="no group 'lift'"):
        compact(network, traced(network), {"lift": np.array([0])})


def test_a_plan_serves_every_selection_and_the_weights_of_the_moment() -> None:
    network = built(CatDepthwise)
    layout = traced(network)
    plan = make_plan(network, layout)
    for seed in range(4):
        kept = random_kept(layout, np.random.default_rng(seed))
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.add_(1)
        found, expected = plan.compact(kept).state_dict(), compact(network, layout, kept).state_dict()
        assert list(found) == list(expected)
        assert all(torch.equal(found[k], v) for k, v in expected.items())


def test_a_plan_follows_a_network_that_changed_its_precision_and_mode() -> None:
    network = built(CatDepthwise)
    plan = make_plan(network, traced(network))
    network.float().train()
    small = plan.compact({})
    assert small.training
    assert {t.dtype for t in small.state_dict().values() if t.is_floating_point()} == {torch.float32}


def test_modules_shared_in_the_base_are_shared_in_the_twin_and_with_nobody_else() -> None:
    network = built(CatDepthwise)
    network.first = network.second = nn.SiLU()  # type: ignore[assignment]
    small = compact(network, traced(network), {"left": np.array([0, 2])})
    assert small.first is small.second
    assert not {id(m) for m in small.modules()} & {id(m) for m in network.modules()}


def test_hooks_and_attributes_of_a_candidate_stay_its_own() -> None:
    network = built(CatDepthwise)
    layout = traced(network)
    seen: list[nn.Module] = []
    small = compact(network, layout, {})
    for module in small.modules():
        module.register_forward_hook(lambda m, *_: seen.append(m))
        module.register_buffer("more", torch.zeros(1))
    network(torch.zeros(2, *SHAPE, dtype=torch.float64))
    compact(network, layout, {})(torch.zeros(2, *SHAPE, dtype=torch.float64))
    assert not seen
    assert not any("more" in key for key in network.state_dict())
