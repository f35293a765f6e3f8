"""What a strategy minimises: the error of a probe, and one cost."""

from __future__ import annotations

import math
from collections.abc import Callable

from search.front import Point
from workers.evaluation import PROBE, Evaluation

ErrorOf = Callable[[Evaluation], float]
"""The error that a strategy sees in an evaluation, 0 to 1; not finite where it was not measured."""


def probe_error(evaluation: Evaluation) -> float:
    """1 − accuracy, after the ridge refit where the probe made one; NaN where neither was measured."""
    metrics = evaluation.metrics
    return 1.0 - metrics.get("refit_accuracy", metrics.get("accuracy", math.nan))


def probe_point(evaluation: Evaluation, cost: str, error_of: ErrorOf) -> Point | None:
    """The evaluation as selection sees it: objectives (error, cost).

    ``None`` where there is nothing to learn: trainings (their accuracy is not comparable with a probe's), failures, and
    measurements that are missing or not finite.
    """
    if evaluation.request.stage != PROBE or not evaluation.ok:
        return None
    metrics = evaluation.metrics
    point = Point(metrics.get("violation", 0.0), (error_of(evaluation), metrics.get(cost, math.nan)))
    return point if point.measured and math.isfinite(point.violation) else None
