"""From stored images (uint8) to normalised batches on a device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from workers.data import Images
from workers.data.mapped import file_of


@dataclass(frozen=True)
class Tensors:
    """A split on a device, ready to be cut into batches.

    Attributes:
        images: uint8 ``[N, C, H, W]``; on the CPU, whatever the device, where they are a file's.
        labels: int64 ``[N]``, on the device.
        mean: float32 ``[1, C, 1, 1]`` in [0, 255]; subtracted.
        scale: float32 ``[1, C, 1, 1]``; divided by.
        memory_format: of batches, and of the networks that take them.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    scale: Tensor
    memory_format: torch.memory_format = torch.channels_last

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fill(self) -> Tensor:
        """The mean colour, uint8 ``[1, C, 1, 1]``: pixels that say nothing."""
        return self.mean.round().to(self.images.dtype)

    def at(self, index: Tensor) -> Tensor:
        """The images of ``index`` (int64 ``[B]``, on the device of the labels), on that device."""
        return self.images[index.to(self.images.device)].to(index.device)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images to float32, of zero mean and unit variance per channel in the training split."""
        return ((images.to(self.mean.device).to(self.mean.dtype) - self.mean) / self.scale).contiguous(
            memory_format=self.memory_format
        )

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, normalised, with their labels: near-equal batches of 2/3 to 3/2 ``size``.

        Equal, so that an average over batches is one over images; fewer than 3/2 ``size`` images are one batch.
        """
        count = max(1, round(len(self) / size))
        bounds = [i * len(self) // count for i in range(count + 1)]
        for start, stop in pairwise(bounds):
            yield self.normalise(self.images[start:stop]), self.labels[start:stop]

    def first(self, count: int) -> Tensors:
        """The first ``count`` images (all where there are fewer)."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])


@dataclass(frozen=True)
class TensorSplits:
    """The splits that a search may see, on one device; ``calibration`` is a fixed mixed sample of ``train``."""

    train: Tensors
    validation: Tensors
    calibration: Tensors


def place(network: nn.Module, images: Tensors) -> nn.Module:
    """``network`` on the device of ``images`` and in their memory format."""
    return network.to(device=images.labels.device, memory_format=images.memory_format)  # type: ignore[call-overload,no-any-return]


def to_tensors(
    images: Images,
    mean: np.ndarray,
    std: np.ndarray,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.channels_last,
) -> Tensors:
    """A split on a device. ``mean`` and ``std`` are float32 ``[C]`` of the [0, 1] scale.

    On the CPU the images are a view of the given array: all workers of a node read the same shared memory, or the
    same file. Images of a file stay there for other devices as well: memory that has no room for them here has none
    there.
    """

    def per_channel(values: np.ndarray) -> Tensor:
        return torch.tensor(np.asarray(values) * 255, dtype=torch.float32, device=device).view(1, -1, 1, 1)

    with warnings.catch_warnings():
        # Arrays from the object store are read-only and torch cannot mark a tensor so; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        pixels, labels = torch.from_numpy(images.images), torch.from_numpy(images.labels)
    if file_of(images.images) is None:
        pixels = pixels.to(device)
    return Tensors(pixels, labels.to(device), per_channel(mean), per_channel(std), memory_format)
