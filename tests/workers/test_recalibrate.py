"""Recalibrated statistics are those that a brute-force pass over the images finds, layer by layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from spaces.networks import NetworkSpec, build_network
from workers.batches import Tensors
from workers.recalibrate import recalibrate

SHAPE = (1, 6, 6)


def make_data(count: int) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    scalar = torch.ones(1, 1, 1, 1)
    return Tensors(images, torch.zeros(count, dtype=torch.int64), 100 * scalar, 50 * scalar)


def make_network(name: str = "narrow") -> nn.Module:
    widths = {"narrow": [8, 12], "wide": [96, 96]}[name]
    spec = NetworkSpec("inception", SHAPE, 3, {"stem": 4, "widths": widths, "modules": [1, 1]})
    network = build_network(spec, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for norm in norms(network):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert isinstance(tensor, Tensor)
                tensor.copy_(0.5 + torch.rand(len(tensor), generator=generator))
    return network.to(memory_format=torch.channels_last)


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


@torch.no_grad()
def brute_force(network: nn.Module, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Per norm, in float64: averages over batches of the mean and the unbiased variance of what reaches it.

    Norms are taken one after the other, every one before it normalising each batch by itself.
    """
    network = copy.deepcopy(network).double().train()
    found = []
    for norm in norms(network):
        seen: list[Tensor] = []
        handle = norm.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        for images in batches:
            network(images.double())
        handle.remove()
        rows = [x.transpose(0, 1).flatten(1) for x in seen]
        found.append((torch.stack([r.mean(1) for r in rows]).mean(0), torch.stack([r.var(1) for r in rows]).mean(0)))
    return found


@pytest.mark.parametrize("name", ["narrow", "wide"])
@pytest.mark.parametrize(("count", "size", "expected"), [(20, 32, [20]), (30, 10, [10, 10, 10]), (23, 10, [11, 12])])
def test_statistics_are_those_of_all_images(name: str, count: int, size: int, expected: list[int]) -> None:
    network, data = make_network(name), make_data(count)
    statistics = brute_force(network, list(data.normalise(data.images).split(expected)))
    recalibrate(network, data, size)
    for norm, (mean, variance) in zip(norms(network), statistics, strict=True):
        assert torch.allclose(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
        assert torch.allclose(norm.running_var.double(), variance, rtol=1e-4, atol=1e-6)


def test_batches_cover_all_images_once_and_hardly_differ_in_size() -> None:
    for count in range(1, 60):
        data = make_data(count)
        batches = list(data.batches(10))
        assert torch.equal(torch.cat([images for images, _ in batches]), data.normalise(data.images))
        sizes = [len(labels) for _, labels in batches]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= 15
        assert min(sizes) >= min(count, 7)


def test_only_statistics_change() -> None:
    network, data = make_network(), make_data(20)
    network.append = nn.Dropout()  # type: ignore[assignment]
    network.train()
    momenta = [0.1 + i / 100 for i, _ in enumerate(norms(network))]
    for norm, momentum in zip(norms(network), momenta, strict=True):
        norm.momentum = momentum
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" not in k and "tracked" not in k}
    recalibrate(network, data, 10)
    after = network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert [norm.momentum for norm in norms(network)] == momenta
    assert not any(m.training for m in network.modules())


def test_what_was_there_before_does_not_matter_and_a_failure_leaves_the_network_usable() -> None:
    first, second, data = make_network(), make_network(), make_data(20)
    for norm in norms(second):
        norm.running_mean.fill_(7.0)  # type: ignore[union-attr]
    recalibrate(first, data, 10)
    recalibrate(second, data, 10)
    mine, theirs = first.state_dict(), second.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)

    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    failing = Failing()
    with pytest.raises(RuntimeError, match="no"):
        recalibrate(failing, data, 10)
    assert failing.norm.momentum == 0.1
    assert not failing.norm.training
