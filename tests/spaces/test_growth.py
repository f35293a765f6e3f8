"""A grown network begins as what its parent was, and can become more."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from surgery_networks import SOUND, lively, random_kept
from torch import Tensor, nn

from spaces.growth import grow, grow_structure, growths
from spaces.layout import make_layout
from spaces.networks.inception import Inception, InceptionModule, ModuleSpec
from spaces.surgery import compact

SHAPE = (2, 8, 8)
WIDTHS = st.integers(1, 5)
SPECS = st.builds(ModuleSpec, WIDTHS, st.tuples(WIDTHS, WIDTHS), st.tuples(WIDTHS, WIDTHS, WIDTHS), WIDTHS)
STAGES = st.lists(st.lists(SPECS, min_size=1, max_size=2), min_size=2, max_size=2)


def parent_of(stages: list[list[ModuleSpec]], seed: int = 0) -> Inception:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Inception(SHAPE[0], 4, 5, stages)
    lively(network, SHAPE, seed)
    return network


def images(count: int = 5, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def small_parent() -> Inception:
    return parent_of([[ModuleSpec.of_width(9)], [ModuleSpec.of_width(14)]])


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    """Largest difference, relative to what varies between images."""
    expected = one(x)
    return float((other(x) - expected).abs().max() / (expected - expected.mean(dim=0)).abs().max())


def recalibrated(network: nn.Module, x: Tensor) -> nn.Module:
    """Running statistics taken anew from one batch, as a probe does."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network.train()(x)
    return network.eval()


@given(STAGES, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.integers(0, 9))
@settings(max_examples=25)
def test_the_function_is_preserved(stages: list[list[ModuleSpec]], growth: tuple[int, int], seed: int) -> None:
    parent = parent_of(stages, seed)
    grown = grow(parent, growth, images())
    assert difference(parent, grown, images()) < 1e-9
    assert difference(parent, grown, images(3, seed=2)) < 1e-9  # not only on the images that settled it
    assert [len(list(s.children())) for s in grown.stages] == [  # type: ignore[union-attr]
        len(specs) + more for specs, more in zip(stages, growth, strict=True)
    ]


def test_the_function_is_preserved_in_single_precision() -> None:
    parent = small_parent().float()
    grown = grow(parent, (2, 2), images(dtype=torch.float32))
    assert {p.dtype for p in grown.parameters()} == {torch.float32}
    assert difference(parent, grown, images(dtype=torch.float32)) < 1e-5


@pytest.mark.parametrize("growth", [(1, 0), (0, 1), (2, 1)])
def test_weights_are_inherited(growth: tuple[int, int]) -> None:
    parent = small_parent()
    grown = grow(parent, growth, images()).state_dict()
    for name, value in parent.state_dict().items():
        if grown[name].shape == value.shape:
            assert torch.equal(grown[name], value)
        else:
            assert name.endswith(("conv.weight", "classifier.weight"))
            assert torch.equal(grown[name][:, : value.shape[1]], value)
            assert not grown[name][:, value.shape[1] :].any()


@pytest.mark.parametrize("growth", list(product(range(3), repeat=2)))
def test_the_structure_alone_has_the_same_shapes(growth: tuple[int, int]) -> None:
    parent = small_parent()
    bare, grown = grow_structure(parent, growth), grow(parent, growth, images())
    shapes = [{k: tuple(v.shape) for k, v in network.state_dict().items()} for network in (bare, grown)]
    assert shapes[0] == shapes[1]
    assert not bare.training
    assert not grown.training


def test_growing_touches_nothing_and_draws_nothing_from_outside() -> None:
    parent = small_parent().train()
    before = copy.deepcopy(parent.state_dict())
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = grow(parent, (1, 1), images()).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(12)
    second = grow(parent, (1, 1), images()).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert all(torch.equal(before[k], v) for k, v in parent.state_dict().items())
    assert all(m.training for m in parent.modules())
    own = {t.data_ptr() for t in parent.state_dict().values()}
    assert not own & {t.data_ptr() for t in first.values()}


def test_new_capacity_can_be_trained() -> None:
    grown = grow(small_parent(), (1, 0), images())
    assert isinstance(grown, Inception)
    grown(images()).square().sum().backward()
    new = list(grown.stages[0].children())[-1]
    assert isinstance(new, InceptionModule)
    reader = next(iter(grown.stages[1].children())).one.conv  # type: ignore[union-attr]
    assert reader.weight.grad[:, -new.spec.pool :].abs().amax() > 0  # type: ignore[union-attr,index,operator]
    assert all(p.grad is not None for p in grown.parameters())


def test_recalibration_does_not_disturb_the_identity() -> None:
    x = images(64)
    parent = recalibrated(small_parent(), x)
    grown = recalibrated(grow(parent, (1, 1), x), x)
    assert difference(parent, grown, x) < 0.01


def test_growths_are_all_vectors_up_to_the_most() -> None:
    assert growths(small_parent(), 2) == tuple(product(range(3), repeat=2))
    assert growths(small_parent(), 0) == ((0, 0),)
    assert growths(SOUND["cat-add"](), 3) == ((),)


def test_networks_that_cannot_grow() -> None:
    other = SOUND["cat-add"]().double()
    with pytest.raises(ValueError, match="CatAdd cannot grow"):
        grow(other, (1,), images())
    for growth in ((), (0, 0)):
        twin = grow(other, growth, images())
        assert twin is not other
        assert all(torch.equal(twin.state_dict()[k], v) for k, v in other.state_dict().items())
    with pytest.raises(ValueError, match=r"\(1, 1, 1\) names 3 stages, the network has 2"):
        grow(small_parent(), (1, 1, 1), images())


@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(0, 2), st.integers(0, 2)))
@settings(max_examples=15)
def test_a_pruned_parent_grows_without_changing_too(seed: int, growth: tuple[int, int]) -> None:
    parent = small_parent()
    layout = make_layout(parent, images(2))
    small = compact(parent, layout, random_kept(layout, np.random.default_rng(seed), 0.3))
    assert isinstance(small, Inception)
    assert difference(small, grow(small, growth, images()), images(seed=2)) < 1e-9
