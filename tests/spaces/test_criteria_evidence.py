"""Activation evidence against finite differences and direct computation, and what the pass leaves behind."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from criteria_networks import Chain, Mixed, data, layout_of, one_thread, prepared  # noqa: F401
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria import KINDS, collect_evidence
from spaces.groups import Group, Member
from spaces.layout import Layout


def losses_with_gate(network: nn.Module, group: Group, channel: int, gate: float) -> Tensor:
    """Each image's loss with the channel multiplied at its readers: their weights are scaled, no hook involved."""
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for m in group.consumers():
            twin.get_submodule(m.layer).weight[:, torch.from_numpy(m.positions[m.channels == channel])] *= gate
        images, labels = data()
        return F.cross_entropy(twin(images), labels, reduction="none")


@pytest.mark.parametrize("make", [Mixed, Chain])
def test_taylor_is_the_derivative_of_a_gate(make: type[nn.Module]) -> None:
    network = prepared(make)
    layout = layout_of(network)
    evidence = collect_evidence(network, layout, *data(), 7, frozenset({"taylor"}))
    assert not evidence.activation_mean
    step = 1e-5
    for group in layout.groups:
        for channel in range(group.size):
            up = losses_with_gate(network, group, channel, 1 + step)
            down = losses_with_gate(network, group, channel, 1 - step)
            slope = float(((up - down) / (2 * step)).abs().mean())
            assert float(evidence.taylor[group.name][channel]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_mixed_network_has_what_the_oracle_is_meant_to_cover() -> None:
    groups = {g.name: g for g in layout_of(prepared(Mixed)).groups}
    assert [m.layer for m in groups["stem"].producers()] == ["stem", "back"]  # residual sum
    assert [m.layer for m in groups["stem"].consumers()] == ["inner", "left", "right"]  # one tensor, several readers
    assert groups["left"].consumers()[0].positions.tolist() == [0, 1, 2, 3]  # concatenation
    assert groups["right"].consumers()[0].positions.tolist() == [4, 5, 6]
    assert len(groups["after"].consumers()[0].positions) == 20  # flatten: four positions per channel


def test_activation_mean_is_what_the_consumers_see() -> None:
    network = prepared(Mixed)
    images, labels = data()
    evidence = collect_evidence(network, layout_of(network), images, labels, 3, frozenset({"activation_mean"}))
    assert not evidence.taylor
    n = network
    with torch.no_grad():
        stem = torch.relu(n.stem_norm(n.stem(images)))  # type: ignore[operator]
        inner = torch.relu(n.inner_norm(n.inner(stem)))  # type: ignore[operator]
        summed = torch.relu(n.back_norm(n.back(inner)) + stem)  # type: ignore[operator]
        left, right = n.left(summed), n.depthwise(torch.sigmoid(n.right(summed)))  # type: ignore[operator]
        pooled = n.pool(torch.relu(n.after(torch.cat([left, right], 1))))  # type: ignore[operator]
        first = torch.tanh(n.first(pooled.flatten(1)))  # type: ignore[operator]

    def mean(x: Tensor) -> Tensor:
        return x.abs().mean(dim=(0, 2, 3)) if x.dim() == 4 else x.abs().mean(dim=0)

    expected = {"inner": inner, "left": left, "right": right, "after": pooled, "first": first}
    seen = {name: mean(x) for name, x in expected.items()}
    seen["stem"] = (mean(stem) + 2 * mean(summed)) / 3  # read by inner; by left and right
    assert set(seen) == set(evidence.activation_mean)
    for name, value in seen.items():
        torch.testing.assert_close(evidence.activation_mean[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_streaming_equals_one_batch(batch_size: int) -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    whole = collect_evidence(network, layout, *data(), 7, KINDS)
    parts = collect_evidence(network, layout, *data(), batch_size, KINDS)
    for name in layout.names:
        torch.testing.assert_close(parts.taylor[name], whole.taylor[name], rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(parts.activation_mean[name], whole.activation_mean[name], rtol=1e-12, atol=1e-15)


def test_no_need_no_pass() -> None:
    network = prepared(Chain)
    layout = layout_of(network)
    network.forward = None  # type: ignore[assignment,method-assign]
    evidence = collect_evidence(network, layout, torch.empty(0), torch.empty(0), 1, frozenset())
    assert not evidence.taylor
    assert not evidence.activation_mean


def test_the_network_is_left_bit_for_bit_as_it_was() -> None:
    network = prepared(Mixed).train()
    layout = layout_of(network)
    network.stem_norm.eval()  # type: ignore[union-attr]
    network.left.weight.requires_grad_(False)  # type: ignore[union-attr]
    network.last.weight.grad = torch.ones_like(network.last.weight)  # type: ignore[union-attr,arg-type]
    before = copy.deepcopy(network.state_dict())
    modes = {n: m.training for n, m in network.named_modules()}
    wanted = {n: p.requires_grad for n, p in network.named_parameters()}
    state = torch.get_rng_state()
    with torch.no_grad():  # the caller's grad mode does not matter
        collect_evidence(network, layout, *data(), 3, KINDS)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert modes == {n: m.training for n, m in network.named_modules()}
    assert wanted == {n: p.requires_grad for n, p in network.named_parameters()}
    assert [n for n, p in network.named_parameters() if p.grad is not None] == ["last.weight"]
    assert torch.equal(network.last.weight.grad, torch.ones_like(network.last.weight))  # type: ignore[union-attr,arg-type]
    assert not any(m._forward_pre_hooks for m in network.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_hooks_go_and_modes_return_when_the_pass_fails() -> None:
    network = prepared(Mixed).train()
    layout = layout_of(network)
    images, labels = data()
    with pytest.raises(RuntimeError):
        collect_evidence(network, layout, images[:, :2], labels, 3, KINDS)
    assert all(m.training for m in network.modules())
    assert not any(m._forward_pre_hooks for m in network.modules())


def test_frozen_networks_can_be_scored() -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    expected = collect_evidence(network, layout, *data(), 7, KINDS)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    found = collect_evidence(network, layout, *data(), 7, KINDS)
    assert all(torch.equal(expected.taylor[n], found.taylor[n]) for n in layout.names)


class Twice(nn.Module):
    """The second convolution is called twice, on two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.a(x))
        y = torch.tanh(self.b(x)).mean((2, 3)) + torch.tanh(self.b(F.avg_pool2d(x, 2))).mean((2, 3))
        return self.head(y)


def test_a_layer_called_twice_has_one_gate() -> None:
    network = prepared(Twice)
    layout = layout_of(network)
    evidence = collect_evidence(network, layout, *data(), 4, KINDS)
    group = layout.groups[0]
    assert group.name == "a"
    for channel in range(group.size):
        up, down = (losses_with_gate(network, group, channel, 1 + s) for s in (1e-5, -1e-5))
        assert float(evidence.taylor["a"][channel]) == pytest.approx(float(((up - down) / 2e-5).abs().mean()), rel=1e-5)
    with torch.no_grad():
        x = torch.tanh(network.a(data()[0]))  # type: ignore[operator]
        small = F.avg_pool2d(x, 2)
    total = x.abs().sum((0, 2, 3)) + small.abs().sum((0, 2, 3))
    count = 7 * (x[0, 0].numel() + small[0, 0].numel())
    torch.testing.assert_close(evidence.activation_mean["a"], total / count)


class ChannelsLast(nn.Module):
    """Linear layers over the last axis of ``[N, H, W, C]``, as ConvNeXt has them."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Linear(4, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.b(torch.tanh(self.a(x)).permute(0, 2, 3, 1))).mean((1, 2)))


def test_linear_layers_over_positions() -> None:
    network = prepared(ChannelsLast)
    layout = layout_of(network)
    evidence = collect_evidence(network, layout, *data(), 4, KINDS)
    assert set(layout.names) == {"a", "b"}
    for group in layout.groups:
        for channel in range(group.size):
            up, down = (losses_with_gate(network, group, channel, 1 + s) for s in (1e-5, -1e-5))
            slope = float(((up - down) / 2e-5).abs().mean())
            assert float(evidence.taylor[group.name][channel]) == pytest.approx(slope, rel=1e-5)
    with torch.no_grad():
        seen = torch.tanh(network.a(data()[0])).abs().mean((0, 2, 3))  # type: ignore[operator]
    torch.testing.assert_close(evidence.activation_mean["a"], seen)


class Folded(nn.Module):
    """Positions are folded into the batch, so gates cannot tell images apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.a(x).mean(3).permute(0, 2, 1)
        return self.head(rows.reshape(-1, rows.shape[-1])).reshape(len(x), -1, 4).mean(1)


def test_images_folded_with_positions_are_refused_for_taylor_only() -> None:
    network = prepared(Folded)
    head = np.arange(4)
    group = Group("a", 4, (Member("a", "out", head, head), Member("head", "in", head, head)))
    layout = Layout((group,), (), (), 0)
    assert torch.isfinite(
        collect_evidence(network, layout, *data(), 4, frozenset({"activation_mean"})).activation_mean["a"]
    ).all()
    with pytest.raises(ValueError, match="'head' reads 24 rows for 4 images"):
        collect_evidence(network, layout, *data(), 4, KINDS)


def test_bad_calls_are_refused() -> None:
    network = prepared(Chain)
    layout = layout_of(network)
    images, labels = data()
    with pytest.raises(ValueError, match="hessian"):
        collect_evidence(network, layout, images, labels, 4, frozenset({"hessian"}))
    with pytest.raises(ValueError, match="7 images, 6 labels"):
        collect_evidence(network, layout, images, labels[1:], 4, KINDS)
    with pytest.raises(ValueError, match="0 images"):
        collect_evidence(network, layout, images[:0], labels[:0], 4, KINDS)
    with pytest.raises(ValueError, match="batch size 0"):
        collect_evidence(network, layout, images, labels, 0, KINDS)


def test_a_group_whose_readers_are_never_called_is_refused() -> None:
    network = prepared(Chain)
    layout = layout_of(network)
    network.forward = lambda x: x.mean((2, 3)) @ x.new_ones(3, 4)  # type: ignore[method-assign,assignment]
    with pytest.raises(ValueError, match="none of its readers"):
        collect_evidence(network, layout, *data(), 4, frozenset({"activation_mean"}))
