"""From kept channels to a network: compact (channels gone), masked (channels zeroed), and back again.

All three read the index maps of a :class:`spaces.layout.Layout`; none traces. ``compact`` gathers the kept
weights straight into a new module tree of the same classes, so it works for any network whose forward pass does
not spell out channel counts; :func:`spaces.doctor.check_groups` finds those that do.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spaces.groups import Side
from spaces.layout import Kept, Layout

_DICTS = (dict, OrderedDict)


def compact(network: nn.Module, layout: Layout, kept: Kept) -> nn.Module:
    """A new network without the removed channels; ``network`` is untouched and shares no tensor with it.

    For many selections of one network, make its :class:`Plan` once.

    Args:
        network: the base network that ``layout`` was made from.
        kept: per group name, the channels that stay; groups not named stay whole.

    Raises:
        ValueError: see :meth:`spaces.layout.Layout.alive`.
    """
    return make_plan(network, layout).compact(kept)


@dataclass(frozen=True)
class Plan:
    """All that surgery on one network looks up beforehand: what remains is gathering its tensors.

    Weights are read when a selection is made, so training the network, or moving it, leaves the plan good;
    adding or replacing modules does not.
    """

    layout: Layout
    maps: tuple[np.ndarray, ...]
    parts: tuple[_Part, ...]

    def compact(self, kept: Kept) -> nn.Module:
        """See :func:`compact`."""
        alive = self.layout.alive(kept)
        root = self.parts[0].module
        device = next((p.device for p in root.parameters()), None)
        survivors = [_survivors(alive[owners], device) for owners in self.maps]
        with torch.no_grad():
            twins = [part.rebuilt(survivors) for part in self.parts]
        for part, twin in zip(self.parts, twins, strict=True):
            for name, place in part.children:
                twin._modules[name] = twins[place]
        return twins[0]


Sides = tuple[tuple[int, int], ...]
"""Pairs of a tensor's dimension and the map (its place in :attr:`Plan.maps`) of the channels along it."""


@dataclass(frozen=True)
class _Part:
    """One module of the network and what changes in its twin.

    Attributes:
        module: the original.
        dicts: names of the attributes that the twin may not share.
        parameters: those that it has, by name.
        buffers: likewise.
        sizes: attributes that declare how many channels there are, and the map of these channels.
        children: names, and the children's places in :attr:`Plan.parts`.
    """

    module: nn.Module
    dicts: tuple[str, ...]
    parameters: tuple[tuple[str, Sides], ...]
    buffers: tuple[tuple[str, Sides], ...]
    sizes: tuple[tuple[str, int], ...]
    children: tuple[tuple[str, int], ...]

    def rebuilt(self, survivors: list[Tensor | None]) -> nn.Module:
        """A module of the same class around gathered tensors; its children are still the original's."""
        twin = object.__new__(type(self.module))
        own = self.module.__dict__.copy()
        for name in self.dicts:
            own[name] = own[name].copy()
        for kind, sides in self.parameters:
            parameter = own["_parameters"][kind]
            own["_parameters"][kind] = nn.Parameter(_gather(parameter, sides, survivors), parameter.requires_grad)
        for kind, sides in self.buffers:
            own["_buffers"][kind] = _gather(own["_buffers"][kind], sides, survivors)
        for attribute, place in self.sizes:
            index = survivors[place]
            if index is not None:
                own[attribute] = len(index)
        twin.__dict__ = own
        return twin


def make_plan(network: nn.Module, layout: Layout) -> Plan:
    """The plan of ``network``, which ``layout`` was made from; a few milliseconds."""
    places = {module: i for i, module in enumerate(network.modules())}
    maps: dict[bytes, int] = {}
    found: list[np.ndarray] = []

    def place(layer: str, side: Side) -> int | None:
        owners = layout.owners.get((layer, side))
        if owners is None:
            return None
        # A layer, its norm and its reader mostly carry the same channels: they are looked up once.
        key = owners.tobytes()
        if key not in maps:
            maps[key] = len(found)
            found.append(owners)
        return maps[key]

    def sides(layer: str, module: nn.Module, kind: str) -> Sides:
        pairs = ((dimension, place(layer, side)) for dimension, side in _sides(module, kind))
        return tuple((dimension, i) for dimension, i in pairs if i is not None)

    parts = []
    for name, module in network.named_modules():
        sizes = ((attribute, place(name, side)) for attribute, side in _sizes(module))
        parts.append(
            _Part(
                module,
                tuple(k for k, v in module.__dict__.items() if type(v) in _DICTS),
                tuple((k, sides(name, module, k)) for k, v in module._parameters.items() if v is not None),
                tuple((k, sides(name, module, k)) for k, v in module._buffers.items() if v is not None),
                tuple((attribute, i) for attribute, i in sizes if i is not None),
                tuple((k, places[v]) for k, v in module._modules.items() if v is not None),
            )
        )
    return Plan(layout, tuple(found), tuple(parts))


def _survivors(alive: np.ndarray, device: torch.device | None) -> Tensor | None:
    """Positions of what is alive, int64; ``None`` where all is."""
    positions = alive.nonzero()[0]
    return None if len(positions) == len(alive) else torch.from_numpy(positions).to(device)


def _gather(tensor: Tensor, sides: Sides, survivors: list[Tensor | None]) -> Tensor:
    values = tensor
    for dimension, place in sides:
        index = survivors[place]
        if index is not None:
            values = values.index_select(dimension, index)
    return values.clone() if values is tensor else values


def masked(network: nn.Module, layout: Layout, kept: Kept) -> nn.Module:
    """A copy of the full-size network in which removed channels are zero wherever they are made or normalised."""
    twin = copy.deepcopy(network)
    alive = layout.alive(kept)
    with torch.no_grad():
        for (layer, side), owner in layout.owners.items():
            gone = torch.from_numpy(np.flatnonzero(~alive[owner]))
            if len(gone) == 0:
                continue
            module = twin.get_submodule(layer)
            tensors = [module.weight, module.bias]
            if side == "in":
                # A bias or activation with f(0) ≠ 0 may stand between maker and reader: the reader's weights decide.
                module.weight[:, gone] = 0  # type: ignore[index,operator]
                continue
            for tensor in tensors:
                if isinstance(tensor, Tensor):
                    tensor[gone] = 0
    return twin


def expand(small: nn.Module, network: nn.Module, layout: Layout, kept: Kept) -> nn.Module:
    """The full-size masked twin of a compact network: its weights scattered back, all removed channels zero.

    The inverse of :func:`compact`; ``small`` may have been trained since. ``network`` gives the shapes only.
    """
    alive = layout.alive(kept)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for name, module in twin.named_modules():
            source = small.get_submodule(name)
            for kind, full in [*module._parameters.items(), *module._buffers.items()]:
                values = getattr(source, kind)
                if full is None or values is None:
                    continue
                index = [np.arange(n) for n in full.shape]
                for dimension, side in _sides(module, kind):
                    owner = layout.owners.get((name, side))
                    if owner is not None:
                        index[dimension] = np.flatnonzero(alive[owner])
                full.fill_(1 if kind == "running_var" else 0)  # norms divide by it, removed channels too
                if full.dim() == 0:
                    full.copy_(values)
                else:
                    full[np.ix_(*index)] = values.to(full.device)
    return twin


def _sides(module: nn.Module, tensor: str) -> list[tuple[int, Side]]:
    """Which dimensions of a layer's tensor run over which side of it."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return [(0, "norm")] if tensor != "num_batches_tracked" else []
    if isinstance(module, nn.Conv2d | nn.Linear):
        if tensor == "bias":
            return [(0, "out")]
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            return [(0, "out")]
        return [(0, "out"), (1, "in")]
    return []


def _sizes(module: nn.Module) -> list[tuple[str, Side]]:
    """The attributes that declare a layer's sizes: printing, export and ``groups`` depend on them."""
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:
            return [("out_channels", "out"), ("in_channels", "out"), ("groups", "out")]
        return [("out_channels", "out"), ("in_channels", "in")]
    if isinstance(module, nn.Linear):
        return [("out_features", "out"), ("in_features", "in")]
    return [("num_features", "norm")] if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else []
