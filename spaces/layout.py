"""A network's groups joined with its layer shapes: what surgery and costs are computed from, without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from spaces.groups import Group, Grouping, Locked, Side, find_groups

Kept = Mapping[str, np.ndarray]
"""Per group name, the kept channels: sorted, unique int64 in ``0 … size−1``, at least one."""


@dataclass(frozen=True)
class Layer:
    """A layer's shape: enough to count its parameters and multiply-accumulates at any width.

    ``inputs``/``outputs`` are channel counts at full width; ``area`` the weights per (input, output) pair
    (k_h·k_w of a convolution, 1 of a linear layer); ``positions`` the output pixels per image; ``statistics``
    whether a batch norm keeps running ones.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    area: int
    bias: bool
    positions: int
    statistics: bool = False

    @property
    def depthwise(self) -> bool:
        return self.kind == "depthwise"


@dataclass(frozen=True)
class Cost:
    """What a network of given widths costs: parameters, multiply-accumulates per image, bytes of its weights."""

    params: int
    macs: int
    bytes: int


@dataclass(frozen=True)
class Layout:
    """The groups and layers of one base network (one growth of it).

    Counting convention: parameters are all trainable tensors; MACs are those of convolutions and linear layers
    (additions, batch norm and pooling are not counted); bytes are float32 parameters and buffers (counters are not
    counted). Layers that the forward pass does not reach are counted whole.
    """

    groups: tuple[Group, ...]
    locked: tuple[Locked, ...]
    layers: tuple[Layer, ...]
    other_params: int
    other_buffers: int = 0

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(g.name for g in self.groups)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Full width of each group, int64 ``[G]``."""
        return np.array([g.size for g in self.groups], dtype=np.int64)

    @cached_property
    def _offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @cached_property
    def owners(self) -> dict[tuple[str, Side], np.ndarray]:
        """Per (layer, side): for each position, the flat channel that it carries, or the last slot (always kept)."""
        slot = int(self._offsets[-1])
        lengths = {}
        for layer in self.layers:
            lengths[layer.name, "out"] = layer.outputs
            lengths[layer.name, "in"] = layer.inputs
            lengths[layer.name, "norm"] = layer.outputs
        owners: dict[tuple[str, Side], np.ndarray] = {}
        for offset, group in zip(self._offsets, self.groups, strict=False):
            for m in group.members:
                key = (m.layer, m.side)
                if key not in owners:
                    owners[key] = np.full(lengths[key], slot, dtype=np.int64)
                owners[key][m.positions] = offset + m.channels
        return owners

    @cached_property
    def _counting(self) -> tuple[np.ndarray, ...]:
        """Per layer, rows of (fixed, per-group multiplicity) that turn widths into channel counts."""
        slot = int(self._offsets[-1])
        group_of = np.repeat(np.arange(len(self.groups)), self.sizes)
        fixed = np.zeros((len(self.layers), 2), dtype=np.int64)
        times = np.zeros((len(self.layers), 2, len(self.groups)), dtype=np.int64)
        for i, layer in enumerate(self.layers):
            sides: tuple[Side, Side] = ("norm", "norm") if layer.kind == "norm" else ("in", "out")
            if layer.depthwise:
                sides = ("out", "out")
            for j, (side, length) in enumerate(zip(sides, (layer.inputs, layer.outputs), strict=True)):
                owner = self.owners.get((layer.name, side))
                if owner is None:
                    fixed[i, j] = length
                    continue
                carried = owner[owner < slot]
                fixed[i, j] = length - carried.size
                times[i, j] = np.bincount(group_of[carried], minlength=len(self.groups)) // np.maximum(self.sizes, 1)
        return fixed, times

    def counts(self, widths: np.ndarray) -> np.ndarray:
        """Channels of every layer at ``widths`` (int ``[G]``): int64 ``[layers, 2]`` of (inputs, outputs)."""
        fixed, times = self._counting
        return np.asarray(fixed + times @ widths)

    @cached_property
    def _factors(self) -> tuple[np.ndarray, ...]:
        """Per layer: area, positions, and whether it has a bias, is a norm, is depthwise, keeps statistics."""
        area = np.array([x.area for x in self.layers], dtype=np.int64)
        positions = np.array([x.positions for x in self.layers], dtype=np.int64)
        bias = np.array([x.bias for x in self.layers], dtype=np.int64)
        norm = np.array([x.kind == "norm" for x in self.layers])
        depthwise = np.array([x.depthwise for x in self.layers])
        statistics = np.array([x.statistics for x in self.layers])
        return area, positions, bias, norm, depthwise, statistics

    def cost(self, widths: np.ndarray) -> Cost:
        """Exact cost at ``widths`` (int ``[G]``, in the order of ``groups``), without building the network."""
        area, positions, bias, norm, depthwise, statistics = self._factors
        inputs, outputs = self.counts(widths).T
        weights = np.where(norm, 0, np.where(depthwise, outputs, inputs * outputs) * area)
        params = weights + np.where(norm, 2 * outputs * bias, outputs * bias)
        total = int(params.sum()) + self.other_params
        buffers = int(np.where(statistics, 2 * outputs, 0).sum()) + self.other_buffers
        return Cost(total, int((weights * positions).sum()), 4 * (total + buffers))

    def full(self) -> np.ndarray:
        """The widths of the uncompressed network."""
        return self.sizes.copy()

    def alive(self, kept: Kept) -> np.ndarray:
        """Flat boolean of all groups' channels, plus one slot that is always alive.

        Raises:
            ValueError: a group keeps nothing, or a channel that it does not have; or there is no such group.
        """
        unknown = sorted(set(kept).difference(self.names))
        if unknown:
            raise ValueError(f"no group {unknown[0]!r}; there are {', '.join(self.names)}")
        alive = np.ones(int(self._offsets[-1]) + 1, dtype=bool)
        for offset, group in zip(self._offsets.tolist(), self.groups, strict=False):
            channels = kept.get(group.name)
            if channels is None:
                continue
            channels = np.asarray(channels)
            if len(channels) == 0 or channels.min() < 0 or channels.max() >= group.size:
                raise ValueError(
                    f"group {group.name!r} must keep between 1 and {group.size} of its channels, got {channels!r}"
                )
            own = alive[offset : offset + group.size]
            own[:] = False
            own[channels] = True
        return alive


def make_layout(network: nn.Module, example: Tensor, keep: Sequence[str] = ()) -> Layout:
    """Trace ``network`` once: its groups (see :func:`spaces.groups.find_groups`) and its layers' shapes."""
    grouping: Grouping = find_groups(network, example, keep)
    layers = _layers(network, example)
    counted = [network.get_submodule(layer.name) for layer in layers]
    known = {id(t) for m in counted for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))}
    params = sum(p.numel() for p in network.parameters() if id(p) not in known)
    buffers = sum(b.numel() for b in network.buffers() if b.is_floating_point() and id(b) not in known)
    return Layout(grouping.groups, grouping.locked, layers, params, buffers)


def _layers(network: nn.Module, example: Tensor) -> tuple[Layer, ...]:
    found: dict[str, Layer] = {}

    def watch(name: str) -> object:
        def hook(module: nn.Module, _: object, output: Tensor) -> None:
            previous = found[name].positions if name in found else 0
            found[name] = _describe(name, module, output.numel() // len(example), previous)

        return hook

    watched = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
    handles = [m.register_forward_hook(watch(n)) for n, m in network.named_modules() if isinstance(m, watched)]  # type: ignore[arg-type]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            network(example)
    finally:
        for module, training in modes.items():
            module.training = training
        for handle in handles:
            handle.remove()
    return tuple(found[name] for name, _ in network.named_modules() if name in found)


def _describe(name: str, module: nn.Module, values: int, previous: int) -> Layer:
    """The layer, from its output's ``values`` per image; ``previous`` are the positions of its earlier calls."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        width, statistics = module.num_features, module.running_mean is not None
        return Layer(name, "norm", width, width, 0, module.affine, 0, statistics)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        positions = previous + values // module.out_features
        return Layer(name, "linear", module.in_features, module.out_features, 1, bias, positions)
    kind, inputs = "conv", module.in_channels
    if 1 < module.groups == module.in_channels == module.out_channels:
        kind = "depthwise"
    elif module.groups > 1:
        # Its channels are locked, so one fixed count serves: inputs per group.
        kind, inputs = "grouped", module.in_channels // module.groups
    area = module.kernel_size[0] * module.kernel_size[1]
    positions = previous + values // module.out_channels
    return Layer(name, kind, inputs, module.out_channels, area, bias, positions)
