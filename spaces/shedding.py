"""One order over all channels of a network, and as many of its last taken away as a budget wants."""

from __future__ import annotations

import numpy as np

from spaces.layout import Layout
from spaces.quantity import Quantity


class OutOfReach(ValueError):
    """The budget is less than the network costs with one channel in every group."""


def shed(
    layout: Layout, quantity: Quantity, budget: int, values: np.ndarray, least: float = -np.inf
) -> dict[str, np.ndarray]:
    """Kept channels: those of value above ``least``, then without those of least value until ``budget`` is met.

    Every group keeps its best channel.

    Args:
        budget: in units of ``quantity``.
        values: float ``[channels]``, groups one after the other. Of equal ones the later channel goes first.

    Raises:
        OutOfReach: no widths are within ``budget``.
    """
    check_reachable(layout, quantity, budget)
    group = np.repeat(np.arange(len(layout.groups)), layout.sizes)
    ends = np.cumsum(layout.sizes)
    starts = ends - layout.sizes
    best = [a + int(values[a:b].argmax()) for a, b in zip(starts, ends, strict=True)]
    kept = values > least
    kept[best] = True
    widths = np.bincount(group[kept], minlength=len(layout.groups))
    # Stable from behind: of equal values the later channel comes first.
    order = len(values) - 1 - np.argsort(values[::-1], kind="stable")
    safe = set(best)
    for channel in order.tolist():
        if quantity.count(widths) <= budget:
            break
        if kept[channel] and channel not in safe:
            kept[channel] = False
            widths[group[channel]] -= 1
    parts = zip(layout.groups, starts, ends, strict=True)
    return {g.name: np.flatnonzero(kept[a:b]).astype(np.int64) for g, a, b in parts}


def check_reachable(layout: Layout, quantity: Quantity, budget: int) -> None:
    """Raises OutOfReach where one channel in every group is too much already."""
    least = quantity.count(np.ones(len(layout.groups), dtype=np.int64))
    if least > budget:
        raise OutOfReach(
            f"budget: {budget:,} is less than {least:,}, the least that this network can be pruned to (one channel in "
            f"each of {len(layout.groups)} groups); ask for {least:,} or more, or for a smaller network"
        )
