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
"""Bad judgements in a row that end the steering."""


@dataclass(frozen=True)
class Foretold:
    """Accuracies of one candidate: as foretold, as its probe alone has it, and as trained."""

    forecast: float
    probe: float
    trained: float


@dataclass
class Record:
    """Forecasts against what came; the steering ends after :data:`STRIKES` bad judgements and begins again after a
    good one, for forecasts are made and judged all the time.
    """

    trainings: list[Foretold] = field(default_factory=list)
    """In the order of commits."""
    _strikes: int = 0

    def add(self, training: Foretold) -> None:
        """Note a training whose accuracy had been foretold."""
        self.trainings.append(training)

    def judge(self) -> None:
        """Count a strike, or forgive them all; called once for every refit.

        Bad are forecasts that hardly rank the trainings, and those that rank them worse than the probes do, by more
        than the standard error of a rank correlation.
        """
        tau = self.tau
        if math.isnan(tau):
            return
        chance = _standard_error(len(self.trainings[-ROLLING:]))
        bad = tau < LEAST_TAU or self.tau_of_probes > tau + chance
        self._strikes = self._strikes + 1 if bad else 0

    @property
    def trusted(self) -> bool:
        return self._strikes < STRIKES

    @property
    def tau(self) -> float:
        """Kendall's τ of the last :data:`ROLLING` forecasts; NaN for fewer than :data:`FEWEST`."""
        return rank_correlation([(t.forecast, t.trained) for t in self.trainings[-ROLLING:]])

    @property
    def tau_of_probes(self) -> float:
        """The same of the probes' accuracies."""
        return rank_correlation([(t.probe, t.trained) for t in self.trainings[-ROLLING:]])


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Kendall's τ-b of pairs; NaN where there are fewer than :data:`FEWEST`, or one side is constant."""
    if len(pairs) < FEWEST:
        return math.nan
    first, second = zip(*pairs, strict=True)
    return float(stats.kendalltau(first, second).statistic)


def _standard_error(count: int) -> float:
    """Of Kendall's τ between ``count`` pairs that have nothing to do with each other (Kendall 1938)."""
    return math.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))
