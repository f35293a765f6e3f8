"""What criteria look at: the network's weights, and what one streamed pass over the scoring images measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria.members import per_channel
from spaces.criteria.tap import Tap, tapped
from spaces.groups import Group
from spaces.layout import Layout

KINDS = frozenset({"activation_mean", "taylor"})
"""The evidence that needs images."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a network's channels. Tensors are float64 ``[group.size]`` on the CPU, by group name.

    Attributes:
        network: the scored network, to read weights from (``network.get_submodule(member.layer)``); never changed.
        activation_mean: mean ``|a|`` of the channel over images and positions, as its consumers see it (behind
            norm, activation and pooling), averaged over consumers. Empty if not asked for.
        taylor: mean over images of ``|d loss_n / d gate_c|``, where ``gate_c`` (at 1) multiplies the channel at the
            inputs of all its consumers and ``loss_n`` is the cross entropy of image n: to first order, how much
            removing the channel changes the loss of an image. Empty if not asked for.
    """

    network: nn.Module
    activation_mean: Mapping[str, Tensor]
    taylor: Mapping[str, Tensor]


def collect_evidence(
    network: nn.Module, layout: Layout, images: Tensor, labels: Tensor, batch_size: int, needs: frozenset[str]
) -> Evidence:
    """Measure what is in ``needs``, in one pass forward (and backward, for ``taylor``) in eval mode.

    Memory is bounded by ``batch_size``, not by the number of images. The network is left as it was: weights,
    buffers, gradients, modes and hooks.

    Args:
        network: the base network that ``layout`` was made from; returns logits ``[B, classes]``.
        layout: its groups.
        images: float ``[N, C, H, W]``, normalised, of the network's dtype, on any device.
        labels: int64 ``[N]``.
        batch_size: images per step.
        needs: names from :data:`KINDS`; if empty, no pass is made.

    Raises:
        ValueError: an unknown name in ``needs``, no images, unequal numbers of images and labels, or a group whose
            consumers the network's forward pass does not call.
    """
    if needs - KINDS:
        raise ValueError(f"evidence {sorted(needs - KINDS)} is unknown; there is {sorted(KINDS)}")
    if not needs or not layout.groups:
        return Evidence(network, {}, {})
    if len(images) == 0 or len(images) != len(labels) or batch_size < 1:
        raise ValueError(
            f"scoring needs as many labels as images and a batch of at least one, "
            f"got {len(images)} images, {len(labels)} labels, batch size {batch_size}"
        )
    gated = "taylor" in needs
    taylor = {g.name: torch.zeros(g.size, dtype=torch.float64) for g in layout.groups if gated}
    with tapped(network, {m.layer for g in layout.groups for m in g.consumers()}) as taps:
        device = next(network.parameters()).device
        for batch, answers in zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True):
            for tap in taps.values():
                tap.begin(len(batch), gated)
            with torch.set_grad_enabled(gated):
                logits = network(batch.to(device))
                loss = F.cross_entropy(logits, answers.to(device), reduction="sum") if gated else None
            if loss is not None:
                slopes = _slopes(taps, loss)
                for group in layout.groups:
                    taylor[group.name] += _gate_slope(group, slopes, len(batch)).abs().sum(dim=0)
    _check_seen(layout, taps)
    means = {g.name: _mean_activation(g, taps) for g in layout.groups if "activation_mean" in needs}
    return Evidence(network, means, {name: total / len(images) for name, total in taylor.items()})


def _slopes(taps: Mapping[str, Tap], loss: Tensor) -> dict[str, Tensor]:
    """Per consumer, the derivative of each image's loss by each input channel's gate, float64 ``[B, inputs]``.

    The loss is a sum over images that in eval mode do not see each other, so each row is that image's own.
    """
    gates = {name: tap.gate for name, tap in taps.items() if tap.gate is not None}
    found = torch.autograd.grad(loss, list(gates.values()), allow_unused=True)
    return {
        name: slope.reshape(len(slope), -1).to("cpu", torch.float64)
        for name, slope in zip(gates, found, strict=True)
        if slope is not None
    }


def _gate_slope(group: Group, slopes: Mapping[str, Tensor], batch: int) -> Tensor:
    """Signed ``d loss_n / d gate_c``, float64 ``[batch, group.size]``: summed over consumers and positions."""
    total = torch.zeros(batch, group.size, dtype=torch.float64)
    for m in group.consumers():
        if m.layer in slopes:
            positions, channels = torch.from_numpy(m.positions), torch.from_numpy(m.channels)
            total.index_add_(1, channels, slopes[m.layer].index_select(1, positions))
    return total


def _mean_activation(group: Group, taps: Mapping[str, Tap]) -> Tensor:
    seen = [
        per_channel(taps[m.layer].mean[torch.from_numpy(m.positions)], m, group.size)
        for m in group.consumers()
        if taps[m.layer].count
    ]
    return torch.stack(seen).mean(dim=0)


def _check_seen(layout: Layout, taps: Mapping[str, Tap]) -> None:
    for group in layout.groups:
        readers = [m.layer for m in group.consumers()]
        if not any(taps[name].count for name in readers):
            raise ValueError(
                f"group {group.name!r}: the forward pass calls none of its readers ({', '.join(readers)}) as modules, "
                f"so their inputs cannot be measured; keep its channels (network.keep) or drop activation criteria"
            )
