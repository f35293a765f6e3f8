"""The learning rate over a training."""

from __future__ import annotations

import math


def rate(schedule: str, progress: float) -> float:
    """Factor on the learning rate at ``progress`` in [0, 1)."""
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    warm_up = 0.25
    if progress < warm_up:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warm_up))
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
