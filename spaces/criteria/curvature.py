"""The diagonal of the empirical Fisher matrix: squares of every image's own weight gradients, streamed.

An image's gradient of a convolution's weight is the product of its output gradients and its unfolded inputs, so it
comes from what a pass holds anyway; no pass per image is made and one image's gradient is held at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.padding import padded

_COLUMNS = 2**22
"""Unfolded values held at a time."""


class Curvature:
    """Sums over images for one layer, float64 on the CPU once read.

    Attributes:
        weights: ``Σ_n (∂loss_n/∂w)²``, shaped as the weight.
        edges: ``Σ_n (Σ_k w_jik ∂loss_n/∂w_jik)²`` over the weights between output j and input channel i, ``[outputs,
            inputs / blocks]``; None for a depthwise convolution.
    """

    def __init__(self, module: nn.Module, blocks: int, edges: bool) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        self._module, self._weight, self._blocks = module, weight.detach(), blocks
        self._depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
        self.weights = torch.zeros_like(self._weight, dtype=torch.float64, device="cpu")
        self.edges: Tensor | None = None
        if edges and not self._depthwise:
            self.edges = torch.zeros(len(weight), weight.shape[1] // blocks, dtype=torch.float64)

    def add(self, calls: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take in a batch: per call of the layer its input and its output's gradient (of the sum of the losses)."""
        weight = self._weight.flatten(1)
        squares = torch.zeros_like(weight)
        edges = None if self.edges is None else torch.zeros_like(self.edges, dtype=weight.dtype, device=weight.device)
        area = weight.shape[1] // (1 if edges is None else edges.shape[1])
        step = max(1, _COLUMNS // max(1, sum(self._unfolded(x, g) for x, g in calls)))
        for start in range(0, len(calls[0][0]), step):
            parts = [_columns(self._module, x[start : start + step], g[start : start + step]) for x, g in calls]
            columns, gradients = (torch.cat(p, dim=-1) if len(p) > 1 else p[0] for p in zip(*parts, strict=True))
            if self._depthwise:
                squares += (columns @ gradients[..., None]).squeeze(-1).square().sum(dim=0)
            elif columns.shape[-1] == 1:
                _add_vectors(weight, columns[..., 0], gradients[..., 0], squares, edges, area)
            else:
                _add_maps(weight, columns, gradients, squares, edges, area)
        if edges is not None and area == 1:
            edges = squares * weight.square()
        self.weights += squares.to("cpu", torch.float64).reshape(self.weights.shape)
        if self.edges is not None and edges is not None:
            self.edges += edges.to("cpu", torch.float64)

    def _unfolded(self, x: Tensor, gradient: Tensor) -> int:
        positions = gradient[0].numel() // len(self._weight)
        return positions * self._weight[0].numel() * (len(self._weight) if self._depthwise else 1)


def _add_maps(
    weight: Tensor, columns: Tensor, gradients: Tensor, squares: Tensor, edges: Tensor | None, area: int
) -> None:
    own, ones = torch.empty_like(weight), weight.new_ones(area)
    for x, g in zip(columns, gradients, strict=True):
        torch.mm(g, x.T, out=own)
        squares.addcmul_(own, own)
        if edges is not None and area > 1:
            through = (own.mul_(weight).reshape(-1, area) @ ones).reshape(edges.shape)
            edges.addcmul_(through, through)


def _add_vectors(weight: Tensor, x: Tensor, g: Tensor, squares: Tensor, edges: Tensor | None, area: int) -> None:
    """One position per image: the squared products are products of squares, so all images are one multiplication."""
    g2 = g.square()
    squares.addmm_(g2.T, x.square())
    if edges is not None and area > 1:
        for i in range(edges.shape[1]):
            block = slice(i * area, (i + 1) * area)
            edges[:, i] += ((x[:, block] @ weight[:, block].T).square_() * g2).sum(dim=0)


def _columns(module: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs ``[B, weights per output, positions]`` and output gradients ``[B, outputs, positions]``.

    For a depthwise convolution ``[B, channels, weights per output, positions]``.
    """
    if isinstance(module, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1]).mT, gradient.reshape(len(x), -1, gradient.shape[-1]).mT
    assert isinstance(module, nn.Conv2d)
    pad = module.padding
    if isinstance(pad, str) or module.padding_mode != "zeros":
        x, pad = padded(module, x), (0, 0)
    plain = module.weight[0, 0].numel() == 1 and set(module.stride) == {1} and set(pad) == {0}
    columns = x.flatten(2) if plain else F.unfold(x, module.kernel_size, module.dilation, pad, module.stride)  # type: ignore[arg-type]
    if module.groups > 1:
        columns = columns.reshape(len(x), module.groups, -1, columns.shape[-1])
    return columns, gradient.flatten(2)
