"""The learning rate over a training."""

from __future__ import annotations

import math

START = 0.04
"""A warm-up begins at this factor: at 0 the first step would be for nothing."""

ONE_CYCLE_WARM_UP = 0.25


def rate(schedule: str, progress: float, warm_up: float = 0.0) -> float:
    """Factor on the learning rate at ``progress`` in [0, 1): ``one_cycle`` rises and falls along half cosines,
    ``cosine`` falls along one, ``constant`` stays.

    Args:
        warm_up: share of the steps, in [0, 1), in which the rate of ``cosine`` and ``constant`` rises in a straight
            line first.
    """
    if schedule == "one_cycle":
        if progress < ONE_CYCLE_WARM_UP:
            return START + (1 - START) * (1 - _fall(progress / ONE_CYCLE_WARM_UP))
        return _fall((progress - ONE_CYCLE_WARM_UP) / (1 - ONE_CYCLE_WARM_UP))
    if progress < warm_up:
        return START + (1 - START) * progress / warm_up
    return _fall((progress - warm_up) / (1 - warm_up)) if schedule == "cosine" else 1.0


def _fall(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
