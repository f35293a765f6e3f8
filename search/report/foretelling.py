"""How well a probe foretold the training of the same candidate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
from scipy import stats

from workers.evaluation import OK, PROBE, TRAIN, is_control

FEWEST_PAIRS = 3
"""Pairs below which no rank correlation is stated."""


@dataclass(frozen=True)
class Pair:
    """One candidate's validation accuracies: probed as it is, probed with a refitted classifier, and trained."""

    candidate: str
    probed: float
    refitted: float
    trained: float


@dataclass(frozen=True)
class Foretelling:
    """All candidates that were both probed and trained.

    Attributes:
        tau_probed: Kendall's rank correlation between probed and trained accuracy; NaN for too few pairs.
        tau_refitted: the same of the refitted accuracy.
    """

    pairs: tuple[Pair, ...]
    tau_probed: float
    tau_refitted: float

    @property
    def refitted(self) -> bool:
        """Whether every pair has a refitted accuracy, which is then the better predictor to look at."""
        return bool(self.pairs) and all(math.isfinite(p.refitted) for p in self.pairs)

    @property
    def tau(self) -> float:
        """Rank correlation of the accuracy that is shown."""
        return self.tau_refitted if self.refitted else self.tau_probed


def compare_probes(table: pa.Table) -> Foretelling:
    """Pair probes with trainings by candidate (the first success of each; controls and repeats left out)."""
    probes: dict[str, tuple[float, float]] = {}
    trained: dict[str, float] = {}
    names = ["candidate", "stage", "origin", "repeat", "status", "accuracy", "refit_accuracy"]
    for row in table.select(names).to_pylist():
        if row["status"] != OK or row["repeat"] or is_control(row["origin"]):
            continue
        accuracy, refit = (math.nan if row[n] is None else row[n] for n in ("accuracy", "refit_accuracy"))
        if row["stage"] == PROBE:
            probes.setdefault(row["candidate"], (accuracy, refit))
        elif row["stage"] == TRAIN and math.isfinite(accuracy):
            trained.setdefault(row["candidate"], accuracy)
    pairs = tuple(
        Pair(name, *probes[name], accuracy)
        for name, accuracy in trained.items()
        if name in probes and math.isfinite(probes[name][0])
    )
    after = [p.trained for p in pairs]
    return Foretelling(pairs, _tau([p.probed for p in pairs], after), _tau([p.refitted for p in pairs], after))


def _tau(before: list[float], after: list[float]) -> float:
    if len(before) < FEWEST_PAIRS or not all(map(math.isfinite, before)):
        return math.nan
    return float(stats.kendalltau(before, after).statistic)
