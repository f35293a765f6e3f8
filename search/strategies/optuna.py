"""Optuna's samplers behind the same two verbs, for comparison (Akiba et al. 2019).

A sampler keeps its own generator and history, so a proposal depends on the whole order of asks and tells. Replaying
the archive repeats that order exactly (the engine asks for evaluation i right after commit i − window, also on
resuming), and so gives the same proposals; asking out of order would not. Unlike :mod:`search.strategies.evolution` a
tell or ask takes longer as the history grows, and a sampler may propose a genome twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from search.strategies.objectives import ErrorOf, probe_error, probe_point
from spaces.genome import Genome
from spaces.randomness import seed_for
from spaces.space import Dimension, Space
from workers.evaluation import PROBE, Evaluation

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class OptunaStrategy:
    """A sampler over the space's box of genes; what it proposes is normalised and repaired into a genome."""

    def __init__(
        self, space: Space, sampler: BaseSampler, cost: str, seeds: Sequence[Genome], error_of: ErrorOf
    ) -> None:
        import optuna  # a second that only these strategies need

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._cost = cost
        self._error_of = error_of
        self._dimensions = space.dimensions()
        self._distributions = {d.name: _distribution(d) for d in self._dimensions}
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        self._running: dict[int, optuna.Trial] = {}
        self._seeds = deque(dict.fromkeys(seeds))
        for genome in self._seeds:
            self._study.enqueue_trial(self._parameters(genome))

    def ask(self, number: int) -> Genome:
        """The starting individuals, then what the sampler suggests."""
        trial = self._study.ask(fixed_distributions=self._distributions)
        self._running[number] = trial
        if self._seeds:
            # The enqueued trial stands for it; through its vector the genome could change in the last digit of a blend.
            return self._seeds.popleft()
        return self._space.from_vector(np.array([trial.params[d.name] for d in self._dimensions], dtype=float))

    def tell(self, evaluation: Evaluation) -> None:
        """Hand a probe that this strategy asked for to the study; as failed where it has nothing to learn from."""
        import optuna

        if evaluation.request.stage != PROBE:
            return
        trial = self._running.pop(evaluation.request.number, None)
        if trial is None:
            return
        point = probe_point(evaluation, self._cost, self._error_of)
        if point is None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        trial.set_constraint("budget", point.violation)
        self._study.tell(trial, list(point.objectives))

    def _parameters(self, genome: Genome) -> dict[str, float]:
        values = {}
        for d, value in zip(self._dimensions, self._space.to_vector(genome).tolist(), strict=True):
            value = min(max(value, d.low), d.high)  # rounding to a genome's digits can leave the box by a hair
            values[d.name] = round(value) if d.kind == "integer" else value
        return values


def tpe(
    space: Space,
    seed: int,
    population: int,
    cost: str,
    seeds: Sequence[Genome] = (),
    error_of: ErrorOf = probe_error,
) -> OptunaStrategy:
    """Multivariate tree-structured Parzen estimator (Watanabe 2023), random for the first ``population`` proposals."""
    from optuna.samplers import TPESampler

    sampler = TPESampler(multivariate=True, n_startup_trials=population, seed=_sampler_seed(seed))
    return OptunaStrategy(space, sampler, cost, seeds, error_of)


def nsga2(
    space: Space,
    seed: int,
    population: int,
    cost: str,
    seeds: Sequence[Genome] = (),
    error_of: ErrorOf = probe_error,
) -> OptunaStrategy:
    """Optuna's NSGA-II: generational, its parents taken from the last complete generation of ``population`` trials."""
    from optuna.samplers import NSGAIISampler

    sampler = NSGAIISampler(population_size=population, seed=_sampler_seed(seed))
    return OptunaStrategy(space, sampler, cost, seeds, error_of)


def _sampler_seed(seed: int) -> int:
    """Optuna takes 32 bits; a run's seed has 63."""
    return seed_for(seed, "sampler") % 2**32


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if dimension.kind == "integer":
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high)
