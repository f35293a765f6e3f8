"""Learns from a search's evaluations what trained accuracy to expect, of probed candidates and of genomes alone.

Whether a candidate's probe says more than its genome does is for cross-validation to decide, at every refit. Where it
does, there are two predictors in a row: the first is fitted to trainings and reads probes; the second is fitted to what
the first says of every probed candidate and reads the genome alone, so that hundreds of probes teach it what a dozen
trainings could not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from search.surrogate.improvement import Front, expected_improvement, pick
from search.surrogate.inner import evolve
from search.surrogate.inputs import GENOME, PROBED, Candidate, matrix
from search.surrogate.predictor import FEWEST, Forecast, Predictor
from search.surrogate.record import Record
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import PROBE, TRAIN, TUNE, Evaluation

CHOICES: tuple[tuple[str, ...], ...] = (GENOME, PROBED)
"""Inputs that a refit chooses from, by the error of the cross-validation; of equals the first."""

MOST_LEARNT = 240
"""Probed candidates that the second predictor learns from: the latest; its cost grows with their cube."""

MOST_KEPT = 2000
"""Probed candidates kept; the least promising are forgotten, so that memory does not grow with the search."""


class Surrogate:
    """Told of every evaluation, it says which probed candidates to train and which genomes to probe.

    What it says is a function of the seed and of what it was told, in order.
    """

    def __init__(self, space: Space, cost: str, base_cost: int, images: int, seed: int) -> None:
        """Objectives are the error on ``images`` validation images, and metric ``cost`` in units of ``base_cost``."""
        self.record = Record()
        self.proposed = 0
        """Genomes that were looked at without a probe."""
        self._space, self._cost, self._base_cost = space, cost, base_cost
        self._images, self._seed = images, seed
        self._probed: dict[str, Evaluation] = {}
        self._tuned: dict[str, float] = {}
        self._trained: dict[str, tuple[Candidate, float]] = {}
        self._taken: set[str] = set()
        self._foretold: dict[str, float] = {}
        self._predictor: Predictor | None = None
        self._groups: tuple[str, ...] = GENOME
        self._stale = False

    def tell(self, evaluation: Evaluation) -> None:
        """Learn from a committed evaluation of the search itself: failed and infeasible ones teach nothing."""
        accuracy = evaluation.metrics.get("accuracy", math.nan)
        if not evaluation.ok or not math.isfinite(accuracy) or evaluation.metrics.get("violation", 0.0) > 0:
            return
        genome = evaluation.request.genome
        if evaluation.request.stage == PROBE:
            self._probed[genome.id] = evaluation
            self._forget()
        elif evaluation.request.stage == TUNE:
            self._tuned[genome.id] = accuracy
        elif evaluation.request.stage == TRAIN and evaluation.request.repeat == 0 and genome.id in self._probed:
            self._trained[genome.id] = (self._candidate(genome.id), accuracy)
            self._stale = True
            if genome.id in self._foretold:
                self.record.add(self._foretold[genome.id], accuracy)

    @property
    def ready(self) -> bool:
        """Whether there is a forecast, and its record is good enough to follow it."""
        self._refit()
        return self._predictor is not None and self.record.trusted

    def forecast(self, candidates: Sequence[str]) -> Forecast | None:
        """Of probed candidates, by their ids; ``None`` while trainings are too few."""
        self._refit()
        if self._predictor is None:
            return None
        return self._predictor.predict(self._inputs([self._candidate(name) for name in candidates]))

    def promote(self, count: int) -> list[Evaluation]:
        """The ``count`` probes whose training is expected to add most hypervolume to the front; each but once."""
        names = [name for name in self._probed if name not in self._taken]
        forecast = self.forecast(names) if names else None
        if forecast is None:
            return []
        return [self._probed[names[i]] for i in pick(forecast, self._costs(names), self._front(), count)]

    def will_train(self, probes: Sequence[Evaluation]) -> list[tuple[float, float, float] | None]:
        """Note that candidates go to training; the forecast of each (accuracy, ends of the 90% interval) if any."""
        names = [probe.request.genome.id for probe in probes]
        self._taken.update(names)
        forecast = self.forecast(names) if names and all(name in self._probed for name in names) else None
        if forecast is None:
            return [None] * len(names)
        self._foretold.update(zip(names, forecast.accuracy.tolist(), strict=True))
        ends = (forecast.accuracy.tolist(), forecast.low.tolist(), forecast.high.tolist())
        return list(zip(*ends, strict=True))

    def propose(self, count: int, number: int) -> list[Genome]:
        """Up to ``count`` genomes worth a probe: evolved on the forecast, then picked to spread along its front."""
        names = list(self._probed)[-MOST_LEARNT:]
        taught = self.forecast(names)
        if taught is None:
            return []
        known = [self._candidate(name) for name in names]
        genomes = self._predictor
        if genomes is None or self._groups != GENOME:
            genomes = Predictor(matrix(self._space, known, GENOME), taught.accuracy, self._images)

        def foretell(some: Sequence[Genome]) -> Forecast:
            return genomes.predict(matrix(self._space, [Candidate(g, {}) for g in some], GENOME))

        def errors(some: Sequence[Genome]) -> np.ndarray:
            return np.asarray(1.0 - foretell(some).accuracy)

        promising = pick(taught, self._costs(names), [], len(names) // 4)
        rng = numpy_generator(self._seed, "inner evolution", number)
        found = evolve(self._space, errors, self._cost, [known[i].genome for i in promising], rng)
        found = [g for g in found if g.id not in self._probed]
        self.proposed += len(found)
        if not found:
            return []
        costs = np.array([getattr(self._space.cost(g), self._cost) for g in found]) / self._base_cost
        return [found[i] for i in pick(foretell(found), costs, self._front(), count)]

    def _refit(self) -> None:
        if not self._stale or len(self._trained) < FEWEST:
            return
        self._stale = False
        candidates = [candidate for candidate, _ in self._trained.values()]
        accuracies = [accuracy for _, accuracy in self._trained.values()]
        fitted = {g: Predictor(matrix(self._space, candidates, g), np.array(accuracies), self._images) for g in CHOICES}
        self._groups = min(CHOICES, key=lambda groups: fitted[groups].error)
        self._predictor = fitted[self._groups]
        self.record.judge()

    def _front(self) -> Front:
        """Of what was trained, with the luck of single measurements smoothed away by the forecast."""
        if self._predictor is None:
            return []
        names = list(self._trained)
        fitted = self._predictor.predict(self._inputs([self._trained[name][0] for name in names]))
        costs = [self._trained[name][0].metrics[self._cost] / self._base_cost for name in names]
        return list(zip((1.0 - fitted.accuracy).tolist(), costs, strict=True))

    def _inputs(self, candidates: Sequence[Candidate]) -> np.ndarray:
        return matrix(self._space, candidates, self._groups)

    def _candidate(self, name: str) -> Candidate:
        probe = self._probed[name]
        return Candidate(probe.request.genome, probe.metrics, probe.outcome.embedding, self._tuned.get(name))

    def _costs(self, names: Sequence[str]) -> np.ndarray:
        return np.array([self._probed[name].metrics[self._cost] for name in names]) / self._base_cost

    def _forget(self) -> None:
        if len(self._probed) <= MOST_KEPT:
            return
        # What is in training is needed when its result comes; what was trained has taught all it can.
        names = [n for n in self._probed if n not in self._taken or n in self._trained]
        forecast = self.forecast(names)
        merit = np.arange(len(names), dtype=float)
        if forecast is not None:
            merit = expected_improvement(forecast, self._costs(names), [])
        for i in np.argsort(merit, kind="stable")[: MOST_KEPT // 4]:
            del self._probed[names[i]]
