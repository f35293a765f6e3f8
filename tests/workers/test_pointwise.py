"""1×1 convolutions as matrix products: the same values and gradients, and a network that is as it was afterwards."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from workers.batches import Tensors
from workers.pointwise import pointwise_products


def images_of(memory_format: torch.memory_format = torch.channels_last) -> Tensors:
    nothing = torch.zeros(0)
    return Tensors(nothing, nothing, nothing, nothing, memory_format)


def value_and_gradients(network: nn.Module, images: Tensor) -> list[Tensor]:
    leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
    out = network(leaf)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out, *torch.autograd.grad((out * weights).sum(), [leaf, *network.parameters()])]


@given(
    count=st.integers(1, 4),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    bias=st.booleans(),
    padding=st.sampled_from([0, "valid", "same"]),
    memory_format=st.sampled_from([torch.channels_last, torch.contiguous_format]),
    seed=st.integers(0, 100),
)
def test_values_and_gradients_are_those_of_the_convolution(
    count: int,
    channels: tuple[int, int],
    size: tuple[int, int],
    bias: bool,
    padding: Any,
    memory_format: torch.memory_format,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(*channels, 1, padding=padding, bias=bias).double()
    images = torch.randn(count, channels[0], *size, dtype=torch.float64).to(memory_format=memory_format)
    expected = value_and_gradients(conv, images)
    with pointwise_products(conv, images_of()):
        found = value_and_gradients(conv, images)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)


def test_products_stay_in_channels_last_format() -> None:
    conv = nn.Conv2d(3, 5, 1)
    with pointwise_products(conv, images_of()):
        out = conv(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)


class Doubled(nn.Conv2d):
    """A convolution that computes something else."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, groups=2),
        Doubled(4, 4, 1),
    ],
    ids=["3×3", "strided", "padded", "grouped", "of its own"],
)
def test_other_convolutions_are_left_alone(module: nn.Module) -> None:
    images = torch.randn(2, 4, 5, 5).to(memory_format=torch.channels_last)
    expected = module(images)
    with pointwise_products(module, images_of()):
        assert torch.equal(module(images), expected)


def test_the_network_is_as_it_was_also_after_an_error() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU())
    wrong = torch.randn(1, 5, 2, 2).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError), pointwise_products(network, images_of()):
        network(wrong)
    assert type(network[0]) is nn.Conv2d


def test_contiguous_images_keep_convolutions() -> None:
    conv = nn.Conv2d(2, 3, 1)
    with pointwise_products(conv, images_of(torch.contiguous_format)):
        assert type(conv) is nn.Conv2d


def test_a_copy_made_meanwhile_computes_the_same() -> None:
    conv = nn.Conv2d(2, 3, 1)
    images = torch.randn(2, 2, 4, 4).to(memory_format=torch.channels_last)
    with pointwise_products(conv, images_of()):
        twin = copy.deepcopy(conv)
    torch.testing.assert_close(twin(images), conv(images))
