"""What the surrogate foretold of each training before it was made, and whether it may go on steering the search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy import stats

LEAST_TAU = 0.3
"""Rank correlation of forecasts below which breeding without them was as good or better in simulation."""

ROLLING, FEWEST = 20, 6
"""The last so many forecasts are judged, as soon as there are so few."""

STRIKES = 2
"""Judgements in a row below :data:`LEAST_TAU` that end the steering."""


@dataclass
class Record:
    """Forecasts against what came; the steering ends after :data:`STRIKES` bad judgements and begins again after a
    good one, for forecasts are made and judged all the time.
    """

    pairs: list[tuple[float, float]] = field(default_factory=list)
    """(foretold, trained) accuracies in the order of commits."""
    _strikes: int = 0

    def add(self, foretold: float, trained: float) -> None:
        """Note a training whose accuracy had been foretold."""
        self.pairs.append((foretold, trained))

    def judge(self) -> None:
        """Count a strike, or forgive them all; called once for every refit."""
        tau = self.tau
        if math.isnan(tau):
            return
        self._strikes = self._strikes + 1 if tau < LEAST_TAU else 0

    @property
    def trusted(self) -> bool:
        return self._strikes < STRIKES

    @property
    def tau(self) -> float:
        """Kendall's τ of the last :data:`ROLLING` pairs; NaN for fewer than :data:`FEWEST`."""
        return rank_correlation(self.pairs[-ROLLING:])


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Kendall's τ-b of pairs; NaN where there are fewer than :data:`FEWEST`, or one side is constant."""
    if len(pairs) < FEWEST:
        return math.nan
    first, second = zip(*pairs, strict=True)
    return float(stats.kendalltau(first, second).statistic)
