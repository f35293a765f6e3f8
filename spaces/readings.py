"""Which layers read the same tensor in the same way, and whose outputs' means a batch norm takes away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from spaces.criteria.tap import evaluating, hooked
from spaces.layout import Layout


@dataclass(frozen=True)
class Reading:
    """Layers that read alike: of one tensor, with one kernel, stride and padding, the same channels at each place.

    Attributes:
        layers: their names, in the order of the network.
        positions: outputs per image and output channel.
        absorbed: those whose output goes to batch norms and nowhere else.
    """

    layers: tuple[str, ...]
    positions: int
    absorbed: frozenset[str]


@dataclass
class _Calls:
    """What one layer reads in one forward pass; tensors are held, for as long as they live their ids are their own."""

    keys: list[Any] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Node] = field(default_factory=list)
    positions: int = 0


def follow(network: nn.Module, layout: Layout, images: Tensor) -> tuple[Reading, ...]:
    """The readings of all layers that consume a group's channels and that the forward pass calls.

    Args:
        network: left as it was.
        images: float ``[B, C, H, W]``, a few.
    """
    consumers = {m.layer for group in layout.groups for m in group.consumers()}
    calls = {name: _Calls() for name, _ in network.named_modules() if name in consumers}
    hooks = [
        network.get_submodule(name).register_forward_hook(_watch(call, len(images))) for name, call in calls.items()
    ]
    with evaluating(network), hooked(hooks), torch.enable_grad():
        # Images that want gradients: autograd then sees every layer, frozen ones as well.
        logits = network(images.detach().requires_grad_().clone())  # a network may overwrite what it is given
    readers = _readers(logits.grad_fn)
    alike: dict[Any, list[str]] = {}
    for name, call in calls.items():
        if call.keys:
            key = (layout.owners[name, "in"].tobytes(), *call.keys)
            alike.setdefault(key, []).append(name)
    absorbed = {name for name, call in calls.items() if _absorbed(call.outputs, readers)}
    return tuple(
        Reading(tuple(names), calls[names[0]].positions, frozenset(absorbed.intersection(names)))
        for names in alike.values()
    )


def _watch(call: _Calls, images: int) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        x, outputs = args[0], module.weight.shape[0]  # type: ignore[union-attr,index]
        call.keys.append((id(x), x._version, _geometry(module)))
        call.inputs.append(x)
        call.positions += output.numel() // (images * int(outputs))
        if output.grad_fn is not None:
            call.outputs.append(output.grad_fn)  # as it is now: an activation may overwrite the output in place

    return hook


def _geometry(module: nn.Module) -> tuple[Any, ...]:
    if not isinstance(module, nn.Conv2d):
        return ()
    return module.kernel_size, module.stride, str(module.padding), module.dilation, module.padding_mode


def _readers(last: Node | None) -> dict[Node, list[str]]:
    """By node of the graph, the names of those that read what it makes."""
    readers: dict[Node, list[str]] = {}
    waiting, seen = [last] if last is not None else [], {last}
    while waiting:
        node = waiting.pop()
        for made, _ in node.next_functions:
            if made is not None:
                readers.setdefault(made, []).append(node.name())
                if made not in seen:
                    seen.add(made)
                    waiting.append(made)
    return readers


def _absorbed(outputs: Sequence[Node], readers: dict[Node, list[str]]) -> bool:
    found = [name for node in outputs for name in readers.get(node, ["nobody"])]
    return bool(found) and all("BatchNorm" in name for name in found)
