"""Batches come in the memory format that the network takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spaces.memory_format import fastest_format
from workers.batches import place, to_tensors
from workers.data import Images


class Flattening(nn.Module):
    """As many people write it: a view of what a convolution returns."""

    def __init__(self, flatten: bool) -> None:
        super().__init__()
        self.convolution, self.linear, self.flatten = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3 * 16, 4), flatten

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        logits: Tensor = self.linear(x.flatten(1) if self.flatten else x.view(len(x), -1))
        return logits


@pytest.mark.parametrize("flatten", [True, False])
def test_a_network_gets_batches_that_it_can_take(flatten: bool) -> None:
    network = Flattening(flatten)
    memory_format = fastest_format(network, (3, 4, 4))
    assert memory_format == (torch.channels_last if flatten else torch.contiguous_format)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    images = Images(pixels, np.zeros(5, np.int64), ("only",))
    tensors = to_tensors(images, np.zeros(3), np.ones(3), memory_format=memory_format)
    expected = network(torch.from_numpy(pixels) / 255)
    for part in (tensors, tensors.first(4)):
        batch, _ = next(part.batches(8))
        assert batch.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(place(network, part)(batch), expected[: len(batch)])


def test_trying_a_format_leaves_the_network_as_it_was() -> None:
    network = Flattening(True).train()
    fastest_format(network, (3, 4, 4))
    assert network.training
    assert network.convolution.weight.is_contiguous()
