"""Where trainings pause, and how many get there: the arithmetic of successive halving."""

from __future__ import annotations

from math import ceil


def rung_epochs(epochs: int, rungs: int, reduction: int) -> tuple[int, ...]:
    """Epochs at which a training of ``epochs`` pauses: ``epochs / reduction^k`` for k from ``rungs`` to 1, rounded up.

    Raises:
        ValueError: two rungs would be at the same epoch, or one at the end.
    """
    levels = tuple(ceil(epochs / reduction**k) for k in range(rungs, 0, -1))
    if len({*levels, epochs}) <= len(levels):
        raise ValueError(f"{epochs} epochs have no room for {rungs} rungs, each {reduction} times the one before")
    return levels


def survivors(candidates: int, rungs: int, reduction: int) -> list[int]:
    """How many of so many candidates reach each rung, the end last: at least one each."""
    return [max(1, candidates // reduction**k) for k in range(rungs + 1)]
