"""From trained gates to kept channels within the budget, always."""

from __future__ import annotations

import numpy as np

from spaces.layout import Layout
from spaces.quantity import Quantity
from workers.bar.hard_concrete import ALIVE


class OutOfReach(ValueError):
    """The budget is less than the network costs with one channel in every group."""


def land(layout: Layout, quantity: Quantity, budget: int, locations: np.ndarray) -> dict[str, np.ndarray]:
    """Per group, the channels whose gates are open, at least one; then those of least location go until all fits.

    Args:
        budget: in units of ``quantity``.
        locations: float ``[channels]``, groups one after the other. Ties go to the lower channel.

    Raises:
        OutOfReach: no widths are within ``budget``.
    """
    check_reachable(layout, quantity, budget)
    group = np.repeat(np.arange(len(layout.groups)), layout.sizes)
    ends = np.cumsum(layout.sizes)
    best = np.array(
        [start + int(locations[start:end].argmax()) for start, end in zip(ends - layout.sizes, ends, strict=True)]
    )
    kept = locations > ALIVE
    kept[best] = True
    widths = np.bincount(group[kept], minlength=len(layout.groups))
    # Stable from behind: of equal locations the later channel goes first.
    order = np.argsort(locations[::-1], kind="stable")
    for channel in (len(locations) - 1 - order).tolist():
        if quantity.count(widths) <= budget:
            break
        if kept[channel] and channel not in best:
            kept[channel] = False
            widths[group[channel]] -= 1
    return {
        g.name: np.flatnonzero(kept[end - g.size : end]).astype(np.int64)
        for g, end in zip(layout.groups, ends, strict=True)
    }


def check_reachable(layout: Layout, quantity: Quantity, budget: int) -> None:
    """Raises OutOfReach where one channel in every group is too much already."""
    least = quantity.count(np.ones(len(layout.groups), dtype=np.int64))
    if least > budget:
        raise OutOfReach(
            f"budget: {budget:,} is less than {least:,}, the least that this network can be pruned to (one channel in "
            f"each of {len(layout.groups)} groups); ask for {least:,} or more, or for a smaller network"
        )
