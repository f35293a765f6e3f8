"""What a search should cost, from the pace of the base network and of some random candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search.halving import rung_epochs, survivors
from search.preflight import Preflight
from workers.evaluation import FINISH, INTERVAL, PROBE, RECIPES, RUNG, SCRATCH, TRAIN


@dataclass(frozen=True)
class Forecast:
    """Expected device-seconds, measured on this machine with the run's threads; a guide, not a promise.

    Attributes:
        base: training the base network.
        each: one evaluation, by stage.
        counts: evaluations of the course, by stage.
    """

    base: float
    each: Mapping[str, float]
    counts: Mapping[str, int]

    @property
    def total(self) -> float:
        """Device-seconds of the whole run."""
        return self.base + sum(count * self.each[stage] for stage, count in self.counts.items())


def forecast(preflight: Preflight, counts: Mapping[str, int]) -> Forecast:
    """Device-seconds of a course of so many evaluations by stage."""
    config, train = preflight.config, len(preflight.splits.train)
    base, candidates = preflight.survey.base, preflight.survey.candidates
    probe_images = min(preflight.probe_images, train) + len(preflight.splits.validation)
    epochs, base_epochs = config.training.epochs, config.base_training.epochs
    s = config.search
    levels = rung_epochs(epochs, s.rungs, s.reduction)
    reaching = survivors(s.trainings, s.rungs, s.reduction)[:-1]
    parts = zip(reaching, (0, *levels), levels, strict=False)
    paused = sum(n * (level - before) for n, before, level in parts) / max(1, sum(reaching))
    each = {
        PROBE: candidates.forward * probe_images,
        INTERVAL: candidates.step * train * config.population.interval,
        RUNG: candidates.step * train * paused,
        TRAIN: candidates.step * train * (epochs - max(levels, default=0)),
        SCRATCH: candidates.step * train * (epochs + base_epochs),
        # They train the base network, though ever less of it.
        **dict.fromkeys(RECIPES, base.step * train * epochs),
        FINISH: candidates.step * train * config.finish.epochs * config.finish.members,
    }
    known = config.network.weights is not None
    return Forecast(0.0 if known else base.step * train * base_epochs, each, dict(counts))
