"""Which channels must be removed together: the groups of a network, as index maps.

Torch-Pruning's dependency graph is traced once per network. What it finds is kept as plain arrays: for every
layer and side, which channel of which group each position carries. Surgery, costs and criteria read these
arrays and never trace again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn

Side = Literal["out", "in", "norm"]
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Member:
    """One side of one layer that carries channels of a group: position ``positions[i]`` carries ``channels[i]``.

    ``out``: filters of a convolution or linear layer (dimension 0 of its weight); a depthwise convolution counts
    as ``out``, since its single weight dimension serves both sides. ``in``: the inputs of a consumer (dimension 1).
    ``norm``: a batch norm's channels.
    """

    layer: str
    side: Side
    positions: np.ndarray
    channels: np.ndarray


@dataclass(frozen=True)
class Group:
    """Channels ``0 … size−1`` that live or die in all members at once.

    Named after its first producer, with the first position there that is the group's own unless that is 0: the
    channels of one layer may belong to several groups, ``conv`` and ``conv[4]``.
    """

    name: str
    size: int
    members: tuple[Member, ...]

    def producers(self) -> tuple[Member, ...]:
        """The convolutions and linear layers whose filters make these channels."""
        return tuple(m for m in self.members if m.side == "out")

    def norms(self) -> tuple[Member, ...]:
        """The batch norms that these channels pass."""
        return tuple(m for m in self.members if m.side == "norm")

    def consumers(self) -> tuple[Member, ...]:
        """The layers that read these channels."""
        return tuple(m for m in self.members if m.side == "in")

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.size} channels"]
        verbs = {"out": "made by", "norm": "normalised by", "in": "read by"}
        for m in self.members:
            low, high = int(m.positions.min()), int(m.positions.max())
            lines.append(f"  => {verbs[m.side]} {m.layer} [{low}..{high}]")
        return "\n".join(lines)


@dataclass(frozen=True)
class Locked:
    """Channels that no genome may remove, and why."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class Grouping:
    """All groups of a network, prunable and locked, in the order of the network's layers."""

    groups: tuple[Group, ...]
    locked: tuple[Locked, ...]

    def group(self, name: str) -> Group:
        """The group called ``name``; ``KeyError`` names the nearest groups there are."""
        for candidate in self.groups:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no group {name!r}; there are {', '.join(g.name for g in self.groups)}")


def find_groups(network: nn.Module, example: Tensor, keep: Sequence[str] = ()) -> Grouping:
    """The channel groups of ``network``, from one traced forward pass.

    Args:
        network: in any mode; its mode, weights and gradients are left as they were.
        example: one batch ``[B, C, H, W]`` on the network's device; only its shape matters.
        keep: shell patterns of layer names whose output channels must stay.

    Channels of one dependency group that do not share all members (the two halves of a concatenation that a
    depthwise convolution reads, say) become groups of their own: they can be removed independently.

    Raises:
        ValueError: a pattern of ``keep`` matches no layer that makes channels, or the network cannot be traced.
    """
    names = {module: name for name, module in network.named_modules()}
    order = {name: i for i, name in enumerate(names.values())}
    _check_patterns(keep, [name for module, name in names.items() if isinstance(module, nn.Conv2d | nn.Linear)])
    groups: list[Group] = []
    locked: list[Locked] = []
    for traced in _trace(network, example):
        members, strange = _members(traced, names)
        for part in _split_by_membership(members, order):
            reason = strange or _lock_reason(part, network, keep)
            if reason:
                locked.append(Locked(part.name, part.size, reason))
            else:
                groups.append(part)
    groups.sort(key=lambda g: (order[g.members[0].layer], int(g.members[0].positions[0])))
    return Grouping(tuple(groups), tuple(locked + _unreached(network, groups, locked)))


def _trace(network: nn.Module, example: Tensor) -> list[Any]:
    modes = {module: module.training for module in network.modules()}
    frozen = [p for p in network.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)  # Torch-Pruning follows autograd: frozen layers would be invisible
    network.eval()
    try:
        with torch.enable_grad():
            graph = tp.DependencyGraph().build_dependency(network, example, forward_fn=_forward, verbose=False)
            return list(graph.get_all_groups(ignored_layers=[], root_module_types=[nn.Conv2d, nn.Linear]))
    except Exception as error:
        raise ValueError(
            f"network.name: the channel groups of this {type(network).__name__} cannot be traced "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}); check that it takes images of shape "
            f"{list(example.shape[1:])}, or use another network"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter in frozen:
            parameter.requires_grad_(False)


def _forward(network: nn.Module, example: Tensor) -> Tensor:
    output = network(example)
    if not isinstance(output, Tensor):
        raise TypeError(f"it returns {type(output).__name__}, not one tensor")
    if not output.requires_grad:
        raise RuntimeError("its output does not depend on its weights through autograd")
    return output


def _members(traced: Any, names: dict[nn.Module, str]) -> tuple[list[Member], str]:
    members: list[Member] = []
    strange = ""
    for item in traced:
        module = item.dep.target.module
        channels = np.asarray([index.root_idx for index in item._idxs] if _is_hybrid(item) else item.root_idxs)
        positions = np.asarray(item.idxs)
        if isinstance(module, nn.Parameter):
            strange = strange or "a bare parameter, outside any layer, carries these channels"
        elif isinstance(module, nn.Conv2d | nn.Linear):
            produced = "out" in item.dep.handler.__name__ or _is_depthwise(module)
            members.append(Member(names[module], "out" if produced else "in", positions, channels))
        elif isinstance(module, _NORMS):
            members.append(Member(names[module], "norm", positions, channels))
        elif isinstance(module, tp.ops._SplitOp):
            # Torch-Pruning mixes up which part goes where, and a count of parts or sizes stands in the forward pass.
            strange = strange or "chunk or split divides these channels by position"
        elif any(True for _ in module.parameters()):
            kind = type(module).__name__
            strange = strange or f"{kind} {names.get(module, '?')!r} mixes or normalises these channels together"
    modules = {name: module for module, name in names.items()}
    for m in members:
        if int(m.positions.max()) >= _length(modules[m.layer], m.side):
            strange = strange or f"an operation before {m.layer!r} changes the number of these channels"
    return _unique(members), strange


def _length(layer: nn.Module, side: Side) -> int:
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels if side == "out" else layer.in_channels
    if isinstance(layer, nn.Linear):
        return layer.out_features if side == "out" else layer.in_features
    assert isinstance(layer, _NORMS)
    return layer.num_features


def _is_hybrid(item: Any) -> bool:
    indices = getattr(item, "_idxs", None)
    return bool(indices) and hasattr(indices[0], "root_idx")  # type: ignore[index]


def _unique(members: Iterable[Member]) -> list[Member]:
    """One member per layer and side: a depthwise convolution appears as both sides of the same weight."""
    merged: dict[tuple[str, Side], dict[int, int]] = defaultdict(dict)
    for m in members:
        merged[m.layer, m.side].update(zip(m.positions.tolist(), m.channels.tolist(), strict=True))
    found = []
    for (layer, side), pairs in merged.items():
        positions = np.array(sorted(pairs), dtype=np.int64)
        channels = np.array([pairs[p] for p in positions.tolist()], dtype=np.int64)
        found.append(Member(layer, side, positions, channels))
    return found


def _split_by_membership(members: list[Member], order: dict[str, int]) -> list[Group]:
    signature: dict[int, list[tuple[str, Side, int]]] = defaultdict(list)
    for m in members:
        for channel, times in zip(*np.unique(m.channels, return_counts=True), strict=True):
            signature[int(channel)].append((m.layer, m.side, int(times)))
    parts: dict[tuple[tuple[str, Side, int], ...], list[int]] = defaultdict(list)
    for channel in sorted(signature):
        parts[tuple(signature[channel])].append(channel)
    return [_restrict(members, channels, order) for channels in parts.values()]


def _restrict(members: list[Member], channels: list[int], order: dict[str, int]) -> Group:
    renumbered = {old: new for new, old in enumerate(channels)}
    own: list[Member] = []
    for m in members:
        inside = np.isin(m.channels, channels)
        if inside.any():
            mapped = np.array([renumbered[c] for c in m.channels[inside].tolist()], dtype=np.int64)
            own.append(Member(m.layer, m.side, m.positions[inside], mapped))
    rank = {"out": 0, "norm": 1, "in": 2}
    own.sort(key=lambda m: (rank[m.side], order[m.layer]))
    first = int(own[0].positions[0])
    return Group(f"{own[0].layer}[{first}]" if first else own[0].layer, len(channels), tuple(own))


def _lock_reason(group: Group, network: nn.Module, keep: Sequence[str]) -> str:
    if not group.producers():
        return "no convolution or linear layer makes these channels"
    if not group.consumers():
        return "feeds the network's output"
    if group.size < 2:
        return "a single channel, which must stay"
    for m in group.members:
        layer = network.get_submodule(m.layer)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not _is_depthwise(layer):
            return f"grouped convolution {m.layer!r} (groups={layer.groups}) needs equal blocks of channels"
    for m in group.producers():
        for pattern in keep:
            if fnmatchcase(m.layer, pattern):
                return f"kept by the configuration ({pattern!r} matches {m.layer!r})"
    return ""


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def _unreached(network: nn.Module, groups: list[Group], locked: list[Locked]) -> list[Locked]:
    known = {m.layer for g in groups for m in g.producers()} | {entry.name for entry in locked}
    return [
        Locked(name, int(module.weight.shape[0]), "not reached by the forward pass, or tied to locked channels")
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and name not in known
    ]


def _check_patterns(keep: Sequence[str], layers: Sequence[str]) -> None:
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise ValueError(
                f"network.keep: {pattern!r} matches no convolution or linear layer; `niwaki inspect` lists them"
            )


def example_input(shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Tensor:
    """A batch of two zero images ``[2, C, H, W]``: enough for tracing, which reads shapes only."""
    return torch.zeros(2, *shape, device=device)
