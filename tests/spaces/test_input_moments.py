"""What is measured of layers' inputs, and which layers share it."""

from __future__ import annotations

import pytest
import torch
from criteria_networks import Mixed, data, layout_of, prepared
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces import input_moments
from spaces.input_moments import _stride, measure_inputs
from spaces.networks import NetworkSpec, build_network
from spaces.readings import follow


def test_branches_of_one_tensor_share_their_moments() -> None:
    network = build_network(NetworkSpec("inception", (3, 6, 6), 4, {"stem": 8, "widths": [16], "modules": [1]}))
    network = network.double()
    readings = follow(network, layout_of(network), data()[0])
    module = "stages.0.0"
    assert (f"{module}.one.conv", f"{module}.three.0.conv", f"{module}.five.0.conv") in {r.layers for r in readings}
    # All convolutions go to batch norms, the classifier goes nowhere.
    assert {r.layers: r.absorbed == set(r.layers) for r in readings if "classifier" in r.layers} == {
        ("classifier",): False
    }
    assert all(r.absorbed == set(r.layers) for r in readings if "classifier" not in r.layers)


class Forked(nn.Module):
    """What ``second`` makes goes to a norm and past it; an activation in place overwrites what ``first`` made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.first(self.stem(x)))
        x = self.second(x)
        return self.head((self.norm(x) + x).mean(dim=(2, 3)))


def test_a_mean_that_goes_past_the_norm_is_not_absorbed() -> None:
    network = prepared(Forked)
    assert all(not reading.absorbed for reading in follow(network, layout_of(network), data()[0]))


def test_frozen_layers_are_followed_and_nothing_is_left_behind() -> None:
    network = prepared(Mixed).requires_grad_(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network.train()
    moments = measure_inputs(network, layout_of(network), data()[0], 3)
    assert {name for i in moments for name in i.absorbed} == {"inner", "back"}
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize("fewest", [30, input_moments.FEWEST])
def test_batches_make_no_difference(fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where samples are skipped."""
    monkeypatch.setattr(input_moments, "FEWEST", fewest)
    monkeypatch.setattr(input_moments, "ROWS", 1)
    network = prepared(Mixed)
    layout, images = layout_of(network), data(40)[0]
    whole, parts = (measure_inputs(network, layout, images, size) for size in (40, 7))
    for a, b in zip(whole, parts, strict=True):
        assert a.readers == b.readers
        assert torch.allclose(torch.tensor(a.mean), torch.tensor(b.mean), atol=1e-12)
        assert torch.allclose(torch.tensor(a.covariance), torch.tensor(b.covariance), atol=1e-12)


@given(wanted=st.integers(0, 50), period=st.integers(1, 200))
def test_strides_come_to_every_place(wanted: int, period: int) -> None:
    stride = _stride(wanted, period)
    assert stride >= wanted
    assert {i * stride % period for i in range(period)} == set(range(period))


def test_batches_without_a_sample_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_moments, "FEWEST", 4)
    network = prepared(Mixed)
    images, _ = data(400)
    for one, other in zip(*(measure_inputs(network, layout_of(network), images, b) for b in (1, 400)), strict=True):
        assert one.mean == pytest.approx(other.mean, abs=1e-12)


class Overwriting(nn.Module):
    """Takes its input for its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.two(torch.relu(self.one(x.sub_(0.5)))).mean((2, 3))
        return found


def test_a_network_that_overwrites_its_images_is_followed_all_the_same() -> None:
    network = prepared(Overwriting)
    images = data()[0]
    before = images.clone()
    assert [r.layers for r in follow(network, layout_of(network), images)] == [("two",)]
    assert torch.equal(images, before)
