"""From kept channels to a network: compact (channels gone), masked (channels zeroed), and back again.

All three read the index maps of a :class:`spaces.layout.Layout`; none traces. ``compact`` gathers the kept
weights straight into a new module tree of the same classes, so it works for any network whose forward pass does
not spell out channel counts; :func:`spaces.doctor.check_groups` finds those that do.
"""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

from spaces.groups import Side
from spaces.layout import Kept, Layout

_DICTS = (dict, OrderedDict)


def compact(network: nn.Module, layout: Layout, kept: Kept) -> nn.Module:
    """A new network without the removed channels; ``network`` is untouched and shares no tensor with it.

    Args:
        network: the base network that ``layout`` was made from.
        kept: per group name, the channels that stay; groups not named stay whole.

    Raises:
        ValueError: see :meth:`spaces.layout.Layout.alive`.
    """
    alive = layout.alive(kept)
    survivors: dict[str, dict[Side, Tensor]] = {}
    for (layer, side), owner in layout.owners.items():
        mask = alive[owner]
        if not mask.all():
            survivors.setdefault(layer, {})[side] = torch.from_numpy(np.flatnonzero(mask))
    return _rebuild(network, "", survivors, {})


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


def _rebuild(
    module: nn.Module, name: str, survivors: dict[str, dict[Side, Tensor]], done: dict[int, nn.Module]
) -> nn.Module:
    """A copy of the module tree whose tensors are gathered instead of copied: cheaper than a deep copy."""
    if id(module) in done:
        return done[id(module)]
    twin = module.__class__.__new__(module.__class__)
    done[id(module)] = twin
    twin.__dict__ = {k: (v.copy() if type(v) in _DICTS else v) for k, v in module.__dict__.items()}
    kept = survivors.get(name, {})
    for kind, parameter in module._parameters.items():
        if parameter is not None:
            values = _gather(module, kind, parameter.detach(), kept)
            twin._parameters[kind] = nn.Parameter(values, requires_grad=parameter.requires_grad)
    for kind, buffer in module._buffers.items():
        if buffer is not None:
            twin._buffers[kind] = _gather(module, kind, buffer, kept)
    for child_name, child in module._modules.items():
        if child is not None:
            path = f"{name}.{child_name}" if name else child_name
            twin._modules[child_name] = _rebuild(child, path, survivors, done)
    _resize(twin, kept)
    return twin


def _gather(module: nn.Module, kind: str, tensor: Tensor, kept: dict[Side, Tensor]) -> Tensor:
    values = tensor
    for dimension, side in _sides(module, kind):
        if side in kept:
            values = values.index_select(dimension, kept[side].to(values.device))
    return values.clone() if values is tensor else values


def _resize(module: nn.Module, kept: dict[Side, Tensor]) -> None:
    """Make a layer's declared sizes true again: printing, export and ``groups`` depend on them."""
    if isinstance(module, nn.Conv2d):
        if "out" in kept:
            module.out_channels = len(kept["out"])
            if module.groups > 1:
                module.groups = module.in_channels = module.out_channels
        if "in" in kept:
            module.in_channels = len(kept["in"])
    elif isinstance(module, nn.Linear):
        module.out_features = len(kept["out"]) if "out" in kept else module.out_features
        module.in_features = len(kept["in"]) if "in" in kept else module.in_features
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and "norm" in kept:
        module.num_features = len(kept["norm"])
