"""Learns from a search's evaluations what trained accuracy to expect, of probed candidates and of genomes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from search.strategies.objectives import probe_error
from search.surrogate.improvement import Front, expected_improvement, pick
from search.surrogate.inner import evolve
from search.surrogate.inputs import GENOME, MEASURED, PROCESS, Candidate, matrix
from search.surrogate.predictor import FEWEST, Forecast, Predictor
from search.surrogate.record import Foretold, Record
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import PROBE, TRAIN, Evaluation

START = 40
"""Probed candidates that an inner evolution begins from: the best spread by the forecast."""

MOST_KEPT = 1000
"""Probed candidates kept; the least promising are forgotten, so that memory does not grow with the search."""

REFIT = 20
"""New forecasts are fitted when trainings have grown by one in so many: a fit takes longer the more there are."""

Lesson = tuple[Evaluation, Evaluation]
"""A probe, and the training of the same candidate."""


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
        self._trained: dict[str, tuple[Candidate, float]] = {}
        self._lessons: dict[str, tuple[Candidate, float]] = {}
        """All that forecasts learn from: own trainings, and those of other runs, which are no part of the front."""
        self._taken: set[str] = set()
        self._foretold: dict[str, float] = {}
        self._probes: Predictor | None = None
        """Of probed candidates."""
        self._genomes: Predictor | None = None
        """Of genomes alone."""
        self._learnt = 0
        """Trainings behind the present forecasts."""

    def tell(self, evaluation: Evaluation) -> None:
        """Learn from a committed evaluation of the search itself: failed and infeasible ones teach nothing."""
        accuracy = evaluation.metrics.get("accuracy", math.nan)
        if not evaluation.ok or not math.isfinite(accuracy) or evaluation.metrics.get("violation", 0.0) > 0:
            return
        genome = evaluation.request.genome
        if evaluation.request.stage == PROBE:
            self._probed[genome.id] = evaluation
            self._forget()
        elif evaluation.request.stage == TRAIN and evaluation.request.repeat == 0 and genome.id in self._probed:
            self._trained[genome.id] = self._lessons[genome.id] = (_candidate(self._probed[genome.id]), accuracy)
            if genome.id in self._foretold:
                probe = 1.0 - probe_error(self._probed[genome.id])
                self.record.add(Foretold(self._foretold[genome.id], probe, accuracy))

    def learn_from(self, earlier: Sequence[Lesson]) -> None:
        """Let trainings of other runs teach the forecasts as well; they are neither promoted nor on the front here."""
        for probe, training in earlier:
            lesson = (_candidate(probe), training.metrics["accuracy"])
            self._lessons.setdefault(probe.request.genome.id, lesson)

    @property
    def ready(self) -> bool:
        """Whether there is a forecast, and its record is good enough to follow it."""
        self._refit()
        return self._probes is not None and self.record.trusted

    def forecast(self, candidates: Sequence[str]) -> Forecast | None:
        """Of probed candidates, by their ids; ``None`` while trainings are too few."""
        self._refit()
        return self._foretell([_candidate(self._probed[name]) for name in candidates])

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
        self._refit()
        if self._genomes is None:
            return []
        genomes, front = self._genomes, self._front()

        def foretell(some: Sequence[Genome]) -> Forecast:
            inputs = matrix(self._space, [Candidate(g, {}) for g in some], GENOME)
            return genomes.predict(inputs, inputs)

        def errors(some: Sequence[Genome]) -> np.ndarray:
            return np.asarray(1.0 - foretell(some).accuracy)

        def costs(some: Sequence[Genome]) -> np.ndarray:
            return np.array([getattr(self._space.cost(g), self._cost) for g in some]) / self._base_cost

        known = [probe.request.genome for probe in self._probed.values()]
        start = [known[i] for i in pick(foretell(known), costs(known), [], START)] if known else []
        rng = numpy_generator(self._seed, "inner evolution", number)
        found = [g for g in evolve(self._space, errors, self._cost, start, rng) if g.id not in self._probed]
        self.proposed += len(found)
        return [found[i] for i in pick(foretell(found), costs(found), front, count)] if found else []

    def _refit(self) -> None:
        count = len(self._lessons)
        if count < FEWEST or count - self._learnt < max(1, self._learnt // REFIT):
            return
        self._learnt = count
        candidates = [candidate for candidate, _ in self._lessons.values()]
        accuracies = [accuracy for _, accuracy in self._lessons.values()]
        scores = np.array(accuracies)
        self._probes = Predictor(*self._inputs(candidates), scores, self._images)
        genomes = matrix(self._space, candidates, GENOME)
        self._genomes = Predictor(genomes, genomes, scores, self._images)
        self.record.judge()

    def _front(self) -> Front:
        """Of what was trained, with the luck of single measurements smoothed away by the forecast."""
        names = list(self._trained)
        fitted = self._foretell([self._trained[name][0] for name in names]) if names else None
        if fitted is None:
            return []
        costs = [self._trained[name][0].metrics[self._cost] / self._base_cost for name in names]
        return list(zip((1.0 - fitted.accuracy).tolist(), costs, strict=True))

    def _foretell(self, candidates: Sequence[Candidate]) -> Forecast | None:
        return None if self._probes is None else self._probes.predict(*self._inputs(candidates))

    def _inputs(self, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """For the process and for the trees: float ``[N, D]`` and ``[N, E]``."""
        few = matrix(self._space, candidates, PROCESS)
        return few, np.hstack([few, matrix(self._space, candidates, MEASURED)])

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


def _candidate(probe: Evaluation) -> Candidate:
    return Candidate(probe.request.genome, probe.metrics, probe.outcome.embedding)
