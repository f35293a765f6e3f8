"""The fast forward pass gives what PyTorch gives, for whatever a network does."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.networks import NetworkSpec, build_network
from workers.batches import Tensors
from workers.planes import Planes, fast_forward

CPU = torch.device("cpu")


def on_planes(x: Tensor) -> Tensor:
    """The same values, laid out as the fast pass lays them out."""
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def is_on_planes(x: Tensor) -> bool:
    return x.permute(1, 2, 3, 0).is_contiguous()


def close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@given(
    images=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([1, 3, 4, 5])),
    stride=st.sampled_from([1, 1, 1, 2]),
    padding=st.sampled_from(["half", "half", "same", "none"]),
    bias=st.booleans(),
    planes=st.booleans(),
    seed=st.integers(0, 100),
)
@settings(max_examples=200)
def test_convolution(
    images: int,
    channels: tuple[int, int],
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: str,
    bias: bool,
    planes: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    half = (kernel[0] // 2, kernel[1] // 2)
    size = (max(size[0], kernel[0]), max(size[1], kernel[1])) if padding == "none" else size
    conv = nn.Conv2d(
        *channels,
        kernel,
        stride=1 if padding == "same" else stride,
        padding={"half": half, "same": "same", "none": 0}[padding],
        bias=bias,
    )
    x = torch.randn(images, channels[0], *size)
    expected = conv(x)
    with Planes():
        found = conv(on_planes(x) if planes else x)
    assert close(found, expected)


@torch.no_grad()
@given(
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    kernel=st.integers(1, 3),
    stride=st.sampled_from([None, 1, 2, 3]),
    padding=st.integers(0, 1),
    ceil_mode=st.booleans(),
    levels=st.sampled_from([3, 1000]),
    seed=st.integers(0, 100),
)
@settings(max_examples=200)
def test_max_pooling_is_exact(
    size: tuple[int, int], kernel: int, stride: int | None, padding: int, ceil_mode: bool, levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = -torch.randint(1, levels, (3, 2, *size), generator=generator).float()
    x[0, 0, 1, 1] = float("nan") if levels == 3 else 0.0
    padding = min(padding, kernel // 2)
    expected = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    with Planes():
        found = F.max_pool2d(on_planes(x), kernel, stride, padding, ceil_mode=ceil_mode)
        assert is_on_planes(F.max_pool2d(on_planes(x), 3, 1, 1))
    assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7))


@torch.no_grad()
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_training_and_afterwards(offset: float, affine: bool) -> None:
    torch.manual_seed(0)
    batches = [torch.randn(9, 4, 3, 5) * torch.tensor([0.0, 1e-3, 1.0, 30.0]).view(1, 4, 1, 1) + offset for _ in "ab"]
    norm = nn.BatchNorm2d(4, momentum=0.3, affine=affine)
    if affine:
        norm.weight.copy_(torch.randn(4))
        norm.bias.copy_(torch.randn(4))
    twin = copy.deepcopy(norm)
    expected = [norm(x) for x in batches]
    with Planes():
        found = [twin(on_planes(x)) for x in batches]
    # At an offset of 100 a single-precision input itself is exact to 1e-5 only: its smaller channels are rounding.
    tolerance = 1e-4 if offset == 0 else 2e-2
    for mine, theirs in zip(found, expected, strict=True):
        assert is_on_planes(mine)
        assert torch.allclose(mine[:, 2:], theirs[:, 2:], atol=tolerance)
    assert torch.allclose(twin.running_mean, norm.running_mean, rtol=1e-5)
    assert torch.allclose(twin.running_var, norm.running_var, rtol=1e-3, atol=1e-6)
    assert twin.num_batches_tracked == 2
    with Planes():
        afterwards = twin.eval()(on_planes(batches[0]))
    assert torch.allclose(afterwards, twin(batches[0]), rtol=1e-4, atol=1e-4)


def test_one_value_per_channel_is_refused_as_ever() -> None:
    with torch.no_grad(), Planes(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(2)(torch.randn(1, 2, 1, 1))


class Odd(nn.Module):
    """Everything that a network may do with its tensors besides what the fast pass replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.strided = nn.Conv2d(12, 4, 3, stride=2, padding=1)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        raw = self.first(x)
        y = F.relu_(self.norm(raw)) + raw
        y = torch.cat((y, self.depthwise(y) * torch.sigmoid(y)), 1)
        y = F.max_pool2d(F.avg_pool2d(y, 2), kernel_size=2, stride=1)
        y = torch.cat([self.strided(y).relu(), self.strided(y)], dim=0)
        return self.last(F.adaptive_avg_pool2d(y, 1).flatten(1))


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_any_network(training: bool) -> None:
    torch.manual_seed(0)
    spec = NetworkSpec("inception", (2, 9, 8), 3, {"stem": 5, "widths": [9, 17, 8], "modules": [2, 1, 1]})
    for network in (build_network(spec).to(memory_format=torch.channels_last), Odd()):
        network.train(training)
        twin = copy.deepcopy(network)
        x = torch.randn(7, 2, 9, 8)
        with Planes():
            found = twin(x)
        assert close(found, network(x))
        for mine, theirs in zip(twin.buffers(), network.buffers(), strict=True):
            assert close(mine.float(), theirs.float())


@torch.no_grad()
def test_statistics_survive_an_interrupted_pass_and_later_passes_see_new_weights() -> None:
    conv = nn.Conv2d(3, 2, 3, padding=1)
    x = torch.randn(4, 3, 5, 5)
    planes = Planes()
    with planes:
        conv(x)
    conv.weight.mul_(2)
    with planes:
        assert close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
    norm = nn.BatchNorm2d(3)

    def interrupted() -> None:
        with Planes():
            norm(on_planes(x))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))


def test_only_narrow_networks_of_plain_convolutions_are_run_on_planes() -> None:
    def planes(
        network: nn.Module, device: str = "cpu", memory_format: torch.memory_format = torch.channels_last
    ) -> bool:
        labels, nothing = torch.zeros(1, device=device), torch.zeros(0)
        return isinstance(fast_forward(network, Tensors(nothing, labels, nothing, nothing, memory_format)), Planes)

    assert planes(nn.Conv2d(10, 10, 3, padding=1))
    assert not planes(nn.Conv2d(10, 10, 3, padding=1), "meta")
    assert not planes(nn.Conv2d(10, 10, 3, padding=1), memory_format=torch.contiguous_format)
    assert not planes(nn.Conv2d(12, 12, 3, padding=1))
    assert not planes(nn.Conv2d(4, 4, 3, padding=1, stride=2))
    assert not planes(nn.Conv2d(4, 4, 3, padding=1, groups=4))
    assert not planes(nn.Linear(3, 3))
