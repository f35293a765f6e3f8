"""One order over all channels of a network, and as many of its last taken away as a budget wants."""

from __future__ import annotations

import numpy as np

from spaces.layout import Layout
from spaces.quantity import Quantity


class OutOfReach(ValueError):
    """The budget is less than the network costs with one channel in every group."""


def shed(
    layout: Layout,
    quantity: Quantity,
    budget: int,
    values: np.ndarray,
    least: float = -np.inf,
    core: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Kept channels: those of value above ``least``, then without those of least value until ``budget`` is met.

    Every group keeps its best channel, or as many of its best as ``core`` says (int ``[G]``, within ``budget``).

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
    counts = np.ones_like(layout.sizes) if core is None else core.clip(1)
    best = [
        a + int(i)
        for a, b, count in zip(starts, ends, counts, strict=True)
        for i in np.argsort(-values[a:b], kind="stable")[:count]
    ]
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


def widest(layout: Layout, quantity: Quantity, budget: int) -> np.ndarray:
    """The widest uniform widths within ``budget``: one ratio, then one channel more by the order of what rounding took.

    Without the second step a rival of few channels would leave a good part of its budget unused.
    """

    def at(ratio: float) -> np.ndarray:
        return np.maximum(1, np.floor(ratio * layout.sizes)).astype(np.int64)

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if quantity.count(at(middle)) <= budget else (low, middle)
    widths = at(low)
    for group in np.argsort(widths - low * layout.sizes, kind="stable"):
        wider = widths + (np.arange(len(widths)) == group)
        if wider[group] <= layout.sizes[group] and quantity.count(wider) <= budget:
            widths = wider
    return widths
