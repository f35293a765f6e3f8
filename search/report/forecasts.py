"""How true the surrogate's forecasts came: each was made before the training that it is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from scipy import stats

from search.report.axis import LogAxis, error_axis
from search.report.correlation import CONFIDENCE, Estimate, Ranking, rank
from search.report.foretelling import compare_probes
from search.report.measurements import Finals
from search.surrogate.record import FEWEST, LEAST_TAU, STRIKES
from workers.evaluation import OK, TRAIN, is_control

NOT_FOLLOWED = (
    f"forecasts were not followed at the end: {STRIKES} times in a row their rank correlation was below {LEAST_TAU}, "
    "or below that of the probes alone"
)
UNRANKED = Ranking(*[Estimate()] * 5)
"""Of too few candidates."""


@dataclass(frozen=True)
class Foretold:
    """One candidate's validation accuracies: foretold with the ends of the 90% interval, probed, and trained."""

    candidate: str
    forecast: float
    low: float
    high: float
    probed: float
    trained: float

    @property
    def held(self) -> bool:
        """Whether the trained accuracy fell into the interval."""
        return self.low <= self.trained <= self.high


@dataclass(frozen=True)
class Forecasts:
    """All trainings of the search that had a forecast and came to an end.

    Attributes:
        ranking: of the forecast, with the probe as its rival; NaN for fewer than
            :data:`search.surrogate.record.FEWEST` pairs.
        refitted: whether the probed accuracies are those of the refitted classifier.
        error: mean absolute error of the forecasts, accuracy points; NaN without pairs.
        held: share of the 90% intervals that held, with Wilson's interval.
    """

    pairs: tuple[Foretold, ...] = ()
    ranking: Ranking = UNRANKED
    refitted: bool = False
    error: float = math.nan
    held: Estimate = field(default_factory=Estimate)


def judge_forecasts(table: pa.Table) -> Forecasts:
    """Hold forecasts against trainings (the first success of each candidate; controls and repeats left out)."""
    rows = _foretold(table)
    if not rows:
        return Forecasts()
    probes = {p.candidate: (p.refitted, p.probed) for p in compare_probes(table).pairs}
    found = [probes.get(name, (math.nan, math.nan)) for name in rows]
    refitted = all(math.isfinite(refit) for refit, _ in found)
    pairs = tuple(
        Foretold(name, forecast, low, high, refit if refitted else plain, trained)
        for (name, (forecast, low, high, trained)), (refit, plain) in zip(rows.items(), found, strict=True)
    )
    trained = [p.trained for p in pairs]
    ranking = UNRANKED
    if len(pairs) >= FEWEST:
        ranking = rank([p.forecast for p in pairs], [p.probed for p in pairs], trained)
    error = 100 * float(np.mean([abs(p.forecast - p.trained) for p in pairs]))
    return Forecasts(pairs, ranking, refitted, error, _share(sum(p.held for p in pairs), len(pairs)))


def why_none(finals: Finals) -> str:
    """Why no training had a forecast, in one sentence."""
    if finals.screening is None:
        return "There was no surrogate: what was probed and trained was chosen without forecasts."
    return "No training had a forecast: the surrogate had seen too few trainings when the last ones began."


def forecast_axis(forecasts: Forecasts, finals: Finals) -> tuple[LogAxis, float]:
    """The axis of foretold and trained accuracy alike, and the least error that it shows."""
    floor = 0.5 / max(finals.data.validation, 1)
    return error_axis((a for p in forecasts.pairs for a in (p.forecast, p.low, p.high, p.trained)), floor), floor


def _foretold(table: pa.Table) -> dict[str, tuple[float, float, float, float]]:
    """By candidate: forecast, the ends of its interval, and the trained accuracy."""
    numbers = ["forecast", "forecast_low", "forecast_high", "accuracy"]
    found: dict[str, tuple[float, float, float, float]] = {}
    for row in table.select(["candidate", "stage", "origin", "repeat", "status", *numbers]).to_pylist():
        if row["stage"] != TRAIN or row["status"] != OK or row["repeat"] or is_control(row["origin"]):
            continue
        forecast, low, high, trained = (math.nan if row[name] is None else float(row[name]) for name in numbers)
        if all(map(math.isfinite, (forecast, low, high, trained))):
            found.setdefault(row["candidate"], (forecast, low, high, trained))
    return found


def _share(successes: int, trials: int) -> Estimate:
    """With Wilson's score interval (Wilson 1927)."""
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))
