"""Hooks on the layers that read or make a group's channels: what flows in, and where gradients are asked for.

A gate is a factor of one in front of an input channel. It stands on the layer's own branch, so its derivative is free
of what other readers of the same tensor (the next branch of a module, the skip connection) do with it, and a gate of
zero is exactly the channel's removal there. Nothing is multiplied: the gate's slope is the branch's gradient times its
input, summed over positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from spaces.criteria.moments import Sums, measure, merge


@dataclass
class Batch:
    """The running batch, shared by all taps of a pass.

    Attributes:
        wanted: kinds of evidence.
        classes: of the labels.
        graded: whether gradients will be asked for.
        rectified: whether a trace will be (see :mod:`spaces.criteria.trace`).
        tracing: while true, negative signals stop at every tapped input.
    """

    wanted: frozenset[str]
    classes: int
    graded: bool
    rectified: bool
    tracing: bool = False
    labels: Tensor = field(default_factory=lambda: torch.empty(0))
    _measured: dict[tuple[int, int, int], tuple[Tensor, Sums]] = field(default_factory=dict)
    _merged: dict[tuple[int, int], tuple[Sums, Sums]] = field(default_factory=dict)

    def begin(self, labels: Tensor) -> None:
        """Forget the last batch; the next one's images have these ``labels``."""
        self.labels = labels
        self._measured.clear()
        self._merged.clear()

    def sums(self, x: Tensor, axis: int, blocks: int) -> Sums:
        """The statistics of ``x``: once, however many layers read it."""
        key = (id(x), x._version, blocks)
        if key not in self._measured:
            found = measure(x.detach(), axis, blocks, self.labels, self.classes, self.wanted)
            self._measured[key] = (x, found)  # the tensor with it: as long as it lives, its id is its own
        return self._measured[key][1]

    def added(self, total: Sums | None, one: Sums) -> Sums:
        """Their sum. Layers that always read the same tensors share one object, not just equal ones."""
        if total is None:
            return one
        key = (id(total), id(one))
        if key not in self._merged:
            self._merged[key] = (total, merge(total, one))
        return self._merged[key][1]


@dataclass(frozen=True)
class Call:
    """One call of a layer: its input, and where its input and its output are in the graph."""

    x: Tensor
    entry: GradientEdge
    branch: Tensor
    exits: list[GradientEdge] = field(default_factory=list)


class Tap:
    """Watches one convolution or linear layer.

    Attributes:
        axis: where its input's channels are.
        blocks: how many inputs side by side are the pixels of one channel (more than one behind a flatten).
        sums: of everything seen so far; none if it has not been called, or reads no group.
        calls: those of the running batch, if gradients are asked for.
    """

    def __init__(self, name: str, module: nn.Module, batch: Batch, reads: bool, blocks: int = 1) -> None:
        self.name, self.module, self.blocks = name, module, blocks
        self.axis = channel_axis(module)
        self.sums: Sums | None = None
        self.calls: list[Call] = []
        self._batch, self._reads = batch, reads

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = args
        if self._reads:
            self.sums = self._batch.added(self.sums, self._batch.sums(x, self.axis % x.dim(), self.blocks))
        if not self._batch.graded:
            return args
        check_rows(self.name, x, len(self._batch.labels))
        branch = x.view_as(x) if x.requires_grad else x.detach().requires_grad_(True)
        if self._batch.rectified:
            branch.register_hook(lambda signal: signal.clamp(min=0) if self._batch.tracing else signal)
        self.calls.append(Call(x.detach(), get_gradient_edge(branch), branch))
        return (branch, *rest)

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self._batch.graded:
            # An edge, not the tensor: an activation may overwrite the output in place.
            self.calls[-1].exits.append(get_gradient_edge(output))


def channel_axis(module: nn.Module) -> int:
    """Where the channels of a layer's input are."""
    return 1 if isinstance(module, nn.Conv2d) else -1


def position_axes(x: Tensor, axis: int) -> list[int]:
    """All dimensions but images and channels."""
    return [d for d in range(1, x.dim()) if d != axis % x.dim()]


def check_rows(layer: str, x: Tensor, images: int) -> None:
    """Refuse inputs in which images and positions share a dimension."""
    if len(x) != images:
        raise ValueError(
            f"layer {layer!r} reads {len(x)} rows for {images} images, so its inputs cannot be told apart by image; "
            f"keep its channels (network.keep) or leave out criteria that need gradients"
        )


def slope(tap: Tap, gradients: Sequence[Tensor | None]) -> Tensor | None:
    """Per image and input, the derivative by the gate, float64 ``[B, inputs]``; one gradient per call of the layer."""
    total = None
    for call, gradient in zip(tap.calls, gradients, strict=True):
        if gradient is not None:
            others = position_axes(gradient, tap.axis)
            product = gradient * call.x
            one = product.sum(dim=others) if others else product
            total = one if total is None else total + one
    return None if total is None else total.to("cpu", torch.float64)


@contextmanager
def tapped(taps: Iterable[Tap]) -> Iterator[None]:
    """With ``taps`` in place; they go with the block."""
    handles = []
    for tap in taps:
        handles += [tap.module.register_forward_pre_hook(tap.before), tap.module.register_forward_hook(tap.after)]
    with hooked(handles):
        yield


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that are in place go with the block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """``network`` in eval mode; every module's own mode is restored."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
