"""Axes that show both ends: cost by its logarithm, and accuracy by the logarithm of its error.

The step from 98 to 99% halves the errors, as that from 60 to 80% does: on the scale of the error both are as long,
so that weak probes and strong trained networks are legible in one picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from search.report import wording

_LADDERS = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
_FEWEST, _MOST = 3, 7


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis from ``low`` to ``high`` (values, not logarithms) with labelled ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    @property
    def exponents(self) -> tuple[float, float]:
        """Both ends as powers of ten."""
        return math.log10(self.low), math.log10(self.high)


def cost_axis(costs: Iterable[float]) -> LogAxis:
    """An axis for costs, labelled 2k, 5k, 10k."""
    low, high = _span([c for c in costs if math.isfinite(c) and c > 0], default=(1.0, 10.0))
    ticks = _ticks(low, high)
    return LogAxis(low, high, ticks, tuple(wording.compact(t) for t in ticks))


def error_axis(accuracies: Iterable[float], floor: float) -> LogAxis:
    """An axis for ``1 − accuracy``, labelled with the accuracy in percent; draw it reversed.

    Args:
        accuracies: what is to be shown, 0 to 1.
        floor: least error that can be shown, as a perfect score has no logarithm: see :func:`error`.
    """
    errors = [error(a, floor) for a in accuracies if math.isfinite(a)]
    low, high = _span(errors, default=(0.1, 1.0))
    ticks = _ticks(low, min(high, 1.0))
    digits = max((_decimals(100 * t) for t in ticks), default=0)
    return LogAxis(low, high, ticks, tuple(f"{100 * (1 - t):.{digits}f}" for t in ticks))


def error(accuracy: float, floor: float) -> float:
    """``1 − accuracy``, at least ``floor``: half an image of the test split is a good floor."""
    return max(1.0 - accuracy, floor)


def _span(values: list[float], default: tuple[float, float]) -> tuple[float, float]:
    """Lowest and highest value with a margin, at least a factor of 1.3 apart."""
    if not values:
        return default
    low, high = min(values), max(values)
    margin = max(0.07 * math.log10(high / low), 0.06)
    return low / 10**margin, high * 10**margin


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers in between: the first ladder with neither too few nor too many of them, else equal steps."""
    best: tuple[float, ...] = ()
    for ladder in _LADDERS:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        steps = [m * 10.0**k for k in range(first, last + 1) for m in ladder]
        inside = tuple(float(f"{s:.6g}") for s in steps if low <= s <= high)
        if _FEWEST <= len(inside) <= _MOST:
            return inside
        if len(inside) <= _MOST:
            best = inside
    return _equal_steps(low, high) if len(best) < _FEWEST else best


def _equal_steps(low: float, high: float) -> tuple[float, ...]:
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough)
    return tuple(float(f"{i * step:.6g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1))


def _decimals(value: float) -> int:
    """Decimals that a number needs, at most 4."""
    return next((d for d in range(4) if abs(round(value, d) - value) < 1e-9), 4)
