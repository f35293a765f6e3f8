"""Terms that would disturb features which mean nothing yet come in slowly."""

from __future__ import annotations

RAMP = 0.2
"""Share of a training over which a ramped term grows to its full weight."""


def ramp(progress: float) -> float:
    """Factor in [0, 1] on a term when the share ``progress`` of the training is done: linear up to :data:`RAMP`."""
    return min(1.0, progress / RAMP)
