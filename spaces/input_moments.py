"""Means and covariances of what layers read, gathered once per base network: all that compensation needs of images.

A convolution reads patches: every tap of every channel is an input of its own (Xie et al., "Pruning with Compensation",
2021, arXiv 2108.13728). Where that would be too many, or more than the images can tell apart, a layer's taps share one
statistic per channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spaces.criteria.channels import blocks_of
from spaces.criteria.moments import covariance
from spaces.criteria.tap import evaluating, hooked
from spaces.layout import Layout
from spaces.padding import padded
from spaces.readings import Reading, follow

LARGEST = 2304
"""Most inputs of a full covariance (42 MB): a 3×3 convolution of 256 channels. Sums take time by its square."""

ROWS = 4
"""Samples per input of a covariance: how many are taken, and how many there must be for taps to be told apart."""

FEWEST = 8192
"""As many samples are always taken where there are as many."""

AT_ONCE = 4096
"""Samples that are in memory together."""


@dataclass(frozen=True)
class Inputs:
    """The moments of what some layers read alike.

    An entry of the moments is a tap of an input; or, where taps share a statistic, a channel. A shared mean is that of
    the map without its padding.

    Attributes:
        readers: the layers.
        absorbed: those whose output goes to batch norms and nowhere else: there its mean makes no difference.
        taps: how many entries an input has, side by side.
        pixels: how many inputs share an entry, side by side.
        mean: float64 ``[D]``.
        covariance: float64 ``[D, D]``, divided by the number of samples; ``None`` where D is too large.
    """

    readers: tuple[str, ...]
    absorbed: frozenset[str]
    taps: int
    pixels: int
    mean: np.ndarray
    covariance: np.ndarray | None

    @property
    def megabytes(self) -> float:
        """What the arrays take."""
        return (self.mean.nbytes + (0 if self.covariance is None else self.covariance.nbytes)) / 2**20


@torch.no_grad()
def measure_inputs(
    network: nn.Module, layout: Layout, images: Tensor, batch_size: int, largest: int = LARGEST
) -> tuple[Inputs, ...]:
    """The moments of all that consumers of groups read, in one forward pass in eval mode.

    Layers that read one tensor alike share one entry. Of each, about ``max(FEWEST, ROWS · D)`` samples are taken,
    evenly from images and positions: memory is bounded by ``batch_size``, time by ``largest``.

    Args:
        network: the base network that ``layout`` was made from; left as it was.
        images: float ``[N, C, H, W]``, normalised, on the network's device.
        batch_size: images per forward pass.
        largest: most entries of a covariance.
    """
    blocks = blocks_of(layout)
    streams = []
    for reading in follow(network, layout, images[:2]):
        module = network.get_submodule(reading.layers[0])
        assert isinstance(module, nn.Conv2d | nn.Linear)
        streams.append(_Stream(module, reading, blocks[reading.layers[0]], len(images), largest))
    with evaluating(network), hooked([s.module.register_forward_pre_hook(s.add) for s in streams]):
        for batch in images.split(batch_size):  # type: ignore[no-untyped-call]
            network(batch)
    return tuple(stream.result() for stream in streams)


class _Stream:
    """Running sums of one reading."""

    def __init__(self, module: nn.Conv2d | nn.Linear, reading: Reading, block: int, images: int, largest: int) -> None:
        self.module, self._reading = module, reading
        inputs = module.in_channels if isinstance(module, nn.Conv2d) else module.in_features
        self._taps, self._pixels, samples = module.weight[0, 0].numel(), 1, images * reading.positions
        if inputs * self._taps > largest or samples < ROWS * inputs * self._taps:
            self._taps, self._pixels = 1, block if isinstance(module, nn.Linear) else 1
        entries = inputs * self._taps // self._pixels
        self._images, self._wanted = images, max(FEWEST, ROWS * entries)
        self._every, self._next = 0, 0
        self._sums = torch.zeros(entries + 1, entries + 1 if entries <= largest else 1, dtype=torch.float64)

    def add(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Take in what the layer reads now."""
        windows, dims = self._windows(args[0].detach())
        places = windows.shape[:dims]
        count, each = math.prod(places), math.prod(places[1:])
        self._every = self._every or _stride(self._images * each // self._wanted, each)
        for rows in torch.arange(min(self._next, count), count, self._every, device=windows.device).split(AT_ONCE):  # type: ignore[no-untyped-call]
            taken = windows[torch.unravel_index(rows, places)].flatten(1).double()
            taken = torch.cat([taken, taken.new_ones(len(taken), 1)], dim=1)
            self._sums += (taken.T @ (taken if self._sums.shape[1] > 1 else taken[:, -1:])).cpu()
        self._next = (self._next - count) % self._every

    def _windows(self, x: Tensor) -> tuple[Tensor, int]:
        """A view of ``x`` whose last dimensions are the entries, and how many dimensions stand before them."""
        if isinstance(self.module, nn.Linear):
            return x.reshape(*x.shape[:-1], -1, self._pixels).movedim(-1, -2), x.dim()
        if self._taps == 1 and self.module.kernel_size != (1, 1):
            return x.movedim(1, -1), 3
        windows = padded(self.module, x)
        for dim, size, step, gap in zip(
            (2, 3), self.module.kernel_size, self.module.stride, self.module.dilation, strict=True
        ):
            windows = windows.unfold(dim, (size - 1) * gap + 1, step)[..., ::gap]
        return windows.permute(0, 2, 3, 1, 4, 5), 3

    def result(self) -> Inputs:
        """The moments of all that was added."""
        r, sums = self._reading, self._sums
        if sums.shape[1] > 1:
            matrix, mean = covariance(sums)
            return Inputs(r.layers, r.absorbed, self._taps, self._pixels, mean.numpy(), matrix.numpy())
        return Inputs(r.layers, r.absorbed, self._taps, self._pixels, (sums[:-1, 0] / sums[-1, 0]).numpy(), None)


def _stride(wanted: int, period: int) -> int:
    """The least stride of at least ``wanted`` that in time comes to every one of ``period`` places."""
    stride = max(1, wanted)
    while math.gcd(stride, period) > 1:
        stride += 1
    return stride
