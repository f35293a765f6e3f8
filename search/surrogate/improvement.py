"""Expected hypervolume improvement: how much a candidate would add to the front, averaged over what it may turn out.

Two objectives: an uncertain error and a cost that is known exactly, both minimised (Emmerich, Giannakoglou & Naujoks,
"Single- and multiobjective evolutionary optimization assisted by Gaussian random field metamodels", IEEE TEC 2006).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from search.front import REFERENCE
from search.surrogate.predictor import Forecast
from search.surrogate.scale import accuracy_of

LEVELS = stats.norm.ppf((np.arange(32) + 0.5) / 32)
"""Standard scores at the middles of 32 equally likely parts: the average over them stands for the expectation."""

Front = Sequence[tuple[float, float]]
"""Points (error, cost / base cost), dominated ones allowed."""


def expected_improvement(forecast: Forecast, costs: np.ndarray, front: Front) -> np.ndarray:
    """Expected growth of the hypervolume of ``front`` by each candidate alone: float ``[N]``, ≥ 0.

    Args:
        forecast: of N candidates; its model uncertainty counts, the luck of one measurement does not.
        costs: float ``[N]``, in units of the base network's cost.
    """
    odds = forecast.mean[:, None] + forecast.model[:, None] * LEVELS
    return np.asarray(improvement(1.0 - accuracy_of(odds), costs[:, None], front).mean(1))


def improvement(errors: np.ndarray, costs: np.ndarray, front: Front) -> np.ndarray:
    """Growth of the hypervolume up to :data:`search.front.REFERENCE` by points (error, cost), elementwise."""
    steps = _staircase(front)
    gain = np.zeros(np.broadcast_shapes(errors.shape, costs.shape))
    for start, stop, cost in steps:
        height = np.clip(stop - np.maximum(errors, start), 0.0, None)
        gain += height * np.clip(cost - costs, 0.0, None)
    return gain


def pick(forecast: Forecast, costs: np.ndarray, front: Front, count: int) -> list[int]:
    """Indices of ``count`` candidates, each the best addition to the front and to those picked before it.

    A picked one is believed to turn out as forecast (Ginsbourger, Le Riche & Carraro 2010), so that the next does not
    repeat it. Ties go to the lower index.
    """
    believed = list(front)
    chosen: list[int] = []
    for _ in range(min(count, len(costs))):
        gains = expected_improvement(forecast, costs, believed)
        gains[chosen] = -1.0
        best = int(np.argmax(gains))
        chosen.append(best)
        believed.append((float(1.0 - forecast.accuracy[best]), float(costs[best])))
    return chosen


def _staircase(front: Front) -> list[tuple[float, float, float]]:
    """Per step (error from, error to, least cost that is dominated there), up to the reference error."""
    steps, start, least = [], -np.inf, REFERENCE
    for error, cost in sorted(front):
        if error >= REFERENCE or cost >= least:
            continue
        steps.append((start, error, least))
        start, least = error, cost
    steps.append((start, REFERENCE, least))
    return steps
