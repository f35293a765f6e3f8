"""Settings that members of a population vary: drawn within bounds, and perturbed from parent to child."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PACE = "pace"
"""The setting that is no setting of a training: the share of its cost that a member keeps when it is pruned."""

ANEW = 0.1
"""Probability that a setting is drawn anew instead of perturbed: what was lost by selection can come back."""


@dataclass(frozen=True)
class Range:
    """Bounds of one setting; on a logarithmic scale where they lie a factor of ten or more apart."""

    name: str
    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        return self.low > 0 and self.high >= 10 * self.low

    def draw(self, rng: np.random.Generator) -> float:
        """A value anywhere in the range."""
        return self._value(float(rng.random()))

    def perturb(self, value: float, rng: np.random.Generator) -> float:
        """A value near ``value``: a step of about a tenth of the range, turned back at its ends; or one drawn anew."""
        if rng.random() < ANEW:
            return self.draw(rng)
        place = abs(self._place(value) + float(rng.normal(0.0, 0.1)))
        return self._value(max(0.0, 2 - place if place > 1 else place))

    def _place(self, value: float) -> float:
        """Where ``value`` lies between the ends: 0 to 1."""
        if self.high == self.low:
            return 0.0
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _value(self, place: float) -> float:
        if self.logarithmic:
            value = self.low * math.exp(place * math.log(self.high / self.low))
        else:
            value = self.low + place * (self.high - self.low)
        return min(max(value, self.low), self.high)
