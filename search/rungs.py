"""Asynchronous successive halving: trainings pause at rungs, and only the best of each rung go on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020, arXiv 1810.05934), Algorithm 2: whenever
there is room, a candidate among the best ``1/η`` of a rung's results so far goes on to the next; only where there is
none, a new one begins. Two things differ. "So far" are the results that have committed, so that who goes on depends on
neither the number of workers nor their speed, as it would with Ray Tune's scheduler, and a run that was killed decides
the same again. And "best" is the order of NSGA-II in (error, cost), the more accurate first of equals: by accuracy
alone only large networks would go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from search.front import Point, standing
from spaces.genome import Genome
from workers.evaluation import RUNG, TRAIN, Evaluation

Foretold = tuple[float, float, float] | None


@dataclass(frozen=True)
class Step:
    """What to do next with a candidate.

    Attributes:
        stage: ``rung``, or ``train`` for the last part.
        epochs: where a rung is; ``None`` for the end of the training.
        forecast: of the training's end.
    """

    genome: Genome
    stage: str
    epochs: int | None
    forecast: Foretold


class Rungs:
    """Who trains, and how far.

    Args:
        levels: epochs at which trainings pause, ascending; without any, every training goes to its end.
        reduction: η; one in so many goes on.
        cost: second objective beside the error.
    """

    def __init__(self, levels: tuple[int, ...], reduction: int, cost: str) -> None:
        self._levels, self._reduction, self._cost = levels, reduction, cost
        self._entrants: deque[tuple[Genome, Foretold]] = deque()
        self._forecasts: dict[str, Foretold] = {}
        self._results: list[list[Evaluation]] = [[] for _ in levels]
        self._best: list[list[Evaluation]] = [[] for _ in levels]
        """The results of each level, best first; asked for far more often than they change."""
        self._passed: list[set[str]] = [set() for _ in levels]
        self._closing = False

    def enter(self, candidates: Iterable[tuple[Genome, Foretold]]) -> None:
        """Let candidates begin, in this order, once nobody can go on."""
        self._entrants.extend(candidates)

    def tell(self, evaluation: Evaluation) -> None:
        """Note what a candidate reached at its rung; who failed goes nowhere."""
        if evaluation.ok:
            level = self._levels.index(int(evaluation.metrics["epochs"]))
            self._results[level].append(evaluation)
            self._best[level] = self._ranked(self._results[level])

    def close(self) -> None:
        """No more candidates will enter: one at least shall reach the end, however few they were."""
        self._closing = True

    def next(self) -> Step | None:
        """What can be started now; ``None`` while that depends on results that are not there."""
        for level in reversed(range(len(self._levels))):
            allowed = len(self._results[level]) // self._reduction
            if self._closing and not self._passed[level] and not any(self._passed[level + 1 :]):
                allowed = max(allowed, 1)
            for evaluation in self._best[level][:allowed]:
                if evaluation.request.genome.id not in self._passed[level]:
                    return self._on(evaluation.request.genome, level)
        if not self._entrants:
            return None
        genome, forecast = self._entrants.popleft()
        self._forecasts[genome.id] = forecast
        return self._step(genome, 0)

    def stopped(self) -> list[str]:
        """Ids of candidates that paused and have not gone on."""
        return [
            evaluation.request.genome.id
            for results, passed in zip(self._results, self._passed, strict=True)
            for evaluation in results
            if evaluation.request.genome.id not in passed
        ]

    def _on(self, genome: Genome, level: int) -> Step:
        self._passed[level].add(genome.id)
        return self._step(genome, level + 1)

    def _step(self, genome: Genome, level: int) -> Step:
        if level < len(self._levels):
            return Step(genome, RUNG, self._levels[level], None)
        return Step(genome, TRAIN, None, self._forecasts[genome.id])

    def _ranked(self, results: list[Evaluation]) -> list[Evaluation]:
        errors = [1 - e.metrics["accuracy"] for e in results]
        points = [Point(0.0, (error, e.metrics[self._cost])) for error, e in zip(errors, results, strict=True)]
        order = sorted(zip(standing(points), errors, range(len(results)), strict=True))
        return [results[i] for _, _, i in order]
