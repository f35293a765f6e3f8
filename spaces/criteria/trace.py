"""The last features' discriminant utility, traced back through the network.

After Tian, Arbel and Clark, "Task dependent deep LDA pruning of neural networks", CVIU 203 (2021), section 3, and
"Grow-Push-Prune" (arXiv 2009.13716): utilities go back by deconvolution, transposed filters with a rectified signal.
Here the transposition is autograd's, so that it works for any network, and the signal is rectified in front of every
layer that reads a group; an activation's own mask applies as well, as in guided backpropagation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spaces.criteria.tap import Call
from spaces.layout import Layout

IMAGES = 128
"""How many are traced, the first ones: the authors find little gain beyond one image per class (section 4.5). The
features' discriminants are those of all images."""


class Traced:
    """Sums over images of the utility that passes each input and position of a layer, one tensor per call."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.maps: list[Tensor] = []


def add(traced: Traced, calls: Sequence[Call], signals: Sequence[Tensor | None]) -> None:
    """Take in a batch: the signal that arrives, times the activation that carries it."""
    for i, (call, signal) in enumerate(zip(calls, signals, strict=True)):
        carried = torch.zeros_like(call.x) if signal is None else signal.clamp(min=0) * call.x.abs()
        one = carried.sum(dim=0).movedim(traced.axis if traced.axis < 0 else 0, 0)
        one = one.to("cpu", torch.float64).flatten(1) if one.dim() > 1 else one.to("cpu", torch.float64)[:, None]
        if i < len(traced.maps):
            traced.maps[i] += one
        else:
            traced.maps.append(one)


def utilities(layout: Layout, traced: Mapping[str, Traced], images: int) -> dict[str, Tensor]:
    """Per group ``[size]``: the greatest utility of any position, of the mean over images; summed over consumers."""
    found = {}
    for group in layout.groups:
        total = torch.zeros(group.size, dtype=torch.float64)
        for m in group.consumers():
            channels = torch.from_numpy(m.channels)
            for one in traced[m.layer].maps:
                most = (one / images).amax(dim=1)[torch.from_numpy(m.positions)]
                total += torch.zeros_like(total).scatter_reduce_(0, channels, most, "amax")
        found[group.name] = total
    return found
