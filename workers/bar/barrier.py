"""How hard the budget pushes, and how it tightens: the barrier and its schedule (Lemaire et al. 2019, section 3)."""

from __future__ import annotations

import math

STEEPNESS = 10.0
TOLERANCE = 0.01
"""The schedule begins this share above the whole network, so that there is a barrier from the first step."""

MARGIN = 1e-4
"""Of the whole network: how far below the budget the push ends."""

CAP = 1e4
"""Of the barrier, which is infinite where the network is over its present budget: a finite push brings it back."""


def barrier(amount: float, low: float, high: float) -> float:
    """0 up to ``low``, then (V−a)² / ((b−a)(b−V)) up to ``high``; never more than :data:`CAP`."""
    if amount <= low:
        return 0.0
    if amount >= high:
        return CAP
    return min(CAP, (amount - low) ** 2 / ((high - low) * (high - amount)))


def bounds(whole: float, budget: float, progress: float) -> tuple[float, float]:
    """Where the barrier begins and where it is infinite at ``progress`` in [0, 1] of the training.

    The upper bound falls from just above ``whole`` to ``budget`` along a sigmoid; the lower stands just under
    ``budget``.
    """
    done = _sigmoid_progress(progress)
    upper = (1 - done) * (1 + TOLERANCE) * whole + done * budget
    return budget - MARGIN * (1 + TOLERANCE) * whole, upper


def _sigmoid_progress(progress: float) -> float:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    start = sigmoid(-STEEPNESS / 2)
    return (sigmoid(STEEPNESS * (progress - 0.5)) - start) / (1 - 2 * start)
