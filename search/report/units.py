"""The unit in which a span of time is drawn."""

from __future__ import annotations


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds per unit, and the unit: seconds, minutes or hours, so that the longest is at least 3 of them."""
    for size, name in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 3 * size:
            return size, name
    return 1.0, "seconds"
