"""All proxies: the network stays as it was, scores are functions of their arguments, and go where they should."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.networks import NetworkSpec, build_network
from spaces.randomness import torch_generator
from workers.batches import Tensors
from workers.proxies import PROXIES, measure_proxies

SHAPE = (1, 6, 6)
CLASSES = 3


def make_network(stem: int = 4, width: int = 12) -> nn.Module:
    arguments = {"stem": stem, "widths": [width, width], "modules": [1, 1]}
    return build_network(NetworkSpec("inception", SHAPE, CLASSES, arguments), torch_generator(0, "weights"))


def make_data(count: int = 40) -> Tensors:
    generator = torch_generator(0, "data")
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return Tensors(images, labels, torch.full((1, 1, 1, 1), 127.0), torch.full((1, 1, 1, 1), 70.0))


class Awkward(nn.Module):
    """All that a proxy could change: mixed modes, a frozen weight, a gradient, a hook, statistics, dropout, a count."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.tail = nn.Linear(80, CLASSES)
        self.fails = fails
        self.register_buffer("calls", torch.zeros(2))
        with torch.no_grad():
            self.norm.running_mean.add_(3)
            self.norm.running_var.mul_(2)
        self.conv.requires_grad_(False)
        self.tail.weight.grad = torch.ones_like(self.tail.weight)
        self.train()
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0].add_(1)
        self.calls = self.calls + 1
        out: Tensor = self.tail(self.drop(self.relu(self.norm(self.conv(x)))).flatten(1))
        if self.fails:
            raise RuntimeError("a network that fails")
        return out


def state(network: nn.Module) -> dict[str, Any]:
    """Everything of a network that can be compared."""
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    return {
        "objects": {name: (id(t), t.data_ptr(), t._version) for name, t in tensors.items() if not t.is_inference()},
        "bits": {name: t.detach().clone().numpy().tobytes() for name, t in tensors.items()},
        "requires_grad": {name: t.requires_grad for name, t in tensors.items()},
        "gradients": {name: None if t.grad is None else t.grad.numpy().tobytes() for name, t in tensors.items()},
        "modes": [m.training for m in network.modules()],
        "hooks": [
            (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks)) for m in network.modules()
        ],
        "attributes": [sorted(vars(m)) for m in network.modules()],
    }


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(name: str, fails: bool) -> None:
    network = Awkward(fails)
    network.conv.register_forward_hook(lambda *_: None)
    before, randomness = state(network), torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError, match="a network that fails"):
            measure_proxies([name], network, make_data(), 0)
    else:
        measure_proxies([name], network, make_data(), 0)
    assert state(network) == before
    assert torch.equal(torch.get_rng_state(), randomness)


@pytest.mark.parametrize("name", PROXIES)
def test_a_network_of_double_precision_is_left_as_it_was(name: str) -> None:
    """Nothing that a proxy does in float64 may happen to be done in place."""
    network, data = Awkward().double(), make_data()
    before = state(network)
    measure_proxies([name], network, replace(data, mean=data.mean.double(), scale=data.scale.double()), 0)
    assert state(network) == before


def test_scores_are_finite_and_repeat_whatever_else_is_measured() -> None:
    network, data = make_network(), make_data()
    found = measure_proxies(list(PROXIES), network, data, 5)
    assert list(found) == [f"proxy_{name}" for name in PROXIES]
    assert all(math.isfinite(value) for value in found.values())
    torch.manual_seed(99)
    backwards: dict[str, float] = {}
    for name in reversed(PROXIES):
        backwards |= measure_proxies([name], network, data, 5)
    assert backwards == found
    other = measure_proxies(list(PROXIES), network, data, 6)
    assert {name for name in other if other[name] != found[name]} == {"proxy_zen"}


@pytest.mark.parametrize("name", PROXIES)
def test_modes_and_running_statistics_do_not_matter(name: str) -> None:
    network, data = make_network(), make_data()
    expected = measure_proxies([name], network, data, 0)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.add_(1)
        norm.running_var.mul_(5)
    assert measure_proxies([name], network.train(), data, 0) == expected


@pytest.mark.parametrize("name", PROXIES)
def test_networks_and_calls_in_inference_mode_score_the_same(name: str) -> None:
    plain = measure_proxies([name], make_network(), make_data(), 0)
    with torch.inference_mode():
        network, data = make_network(), make_data()
        assert next(network.parameters()).is_inference()
        images = data.normalise(data.images)[: PROXIES[name].batch]
        labels = data.labels[: PROXIES[name].batch]
        direct = PROXIES[name].score(network, images, labels, torch_generator(0, "proxy", name))
        assert torch.is_inference_mode_enabled()
        assert measure_proxies([name], network, data, 0) == plain
    assert direct == pytest.approx(plain[f"proxy_{name}"], rel=1e-3)  # other kernels round differently
    assert measure_proxies([name], network, data, 0) == plain
    with torch.no_grad():
        assert measure_proxies([name], make_network(), make_data(), 0) == plain


@pytest.mark.parametrize("name", ["synflow", "naswot", "zen"])
def test_a_wider_network_promises_more(name: str) -> None:
    narrow, wide = (measure_proxies([name], make_network(4 * k, 12 * k), make_data(), 0) for k in (1, 4))
    assert wide[f"proxy_{name}"] > narrow[f"proxy_{name}"]


@pytest.mark.parametrize("name", PROXIES)
def test_equal_images_and_a_dead_network_have_finite_scores(name: str) -> None:
    data = make_data(8)
    data.images[1:] = data.images[0]
    assert math.isfinite(measure_proxies([name], make_network(), data, 0)[f"proxy_{name}"])
    dead = make_network()
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    assert math.isfinite(measure_proxies([name], dead, make_data(), 0)[f"proxy_{name}"])


def test_wrong_names_and_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'synflow'"):
        measure_proxies(["sinflow"], make_network(), make_data(), 0)
    with pytest.raises(ValueError, match="at least two, got 1"):
        measure_proxies(["snip"], make_network(), make_data(1), 0)
    assert measure_proxies([], make_network(), make_data(1), 0) == {}


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tail = nn.Linear(36, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(torch.tanh(x).flatten(1))
        return out


def test_networks_that_a_proxy_cannot_score_are_refused() -> None:
    with pytest.raises(ValueError, match="naswot: Smooth calls no ReLU"):
        measure_proxies(["naswot"], Smooth(), make_data(), 0)
    with pytest.raises(ValueError, match="Flatten has no weights"):
        measure_proxies(["synflow"], nn.Flatten(), make_data(), 0)


def test_functions_count_as_their_modules_do() -> None:
    class Functional(nn.Module):
        def __init__(self, conv: nn.Module, tail: nn.Module) -> None:
            super().__init__()
            self.conv, self.tail = conv, tail

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.tail(F.relu(self.conv(x)).flatten(1))
            return out

    conv, tail = nn.Conv2d(1, 5, 3), nn.Linear(80, CLASSES)
    modules = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), tail)
    found = [measure_proxies(list(PROXIES), n, make_data(), 0) for n in (modules, Functional(conv, tail))]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
