"""Strategies: what to try next. A new one is a file here and a line in ``STRATEGIES``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from search.strategies import optuna
from search.strategies.evolution import Evolution
from search.strategies.objectives import ErrorOf, probe_error
from search.strategies.random import Random
from spaces.genome import Genome
from spaces.space import Space
from workers.evaluation import Evaluation

__all__ = [
    "STRATEGIES",
    "ErrorOf",
    "Strategy",
    "StrategyBuilder",
    "check_strategy",
    "make_strategy",
    "probe_error",
]


class Strategy(Protocol):
    """Proposes genomes and learns from results. What it answers is a function of its seed and of these calls alone:
    no clock, no global randomness, nothing that differs between processes.
    """

    def ask(self, number: int) -> Genome:
        """A genome within budget for evaluation ``number``; numbers rise, with gaps where others asked.

        Called any number of times before the first :meth:`tell`.
        """

    def tell(self, evaluation: Evaluation) -> None:
        """Learn from a committed evaluation, in number order: of this strategy's genomes and of others (trainings,
        controls), failed ones and those with missing measurements too.
        """


class StrategyBuilder(Protocol):
    """Makes a strategy from what a run fixes."""

    def __call__(
        self,
        space: Space,
        seed: int,
        population: int,
        cost: str,
        seeds: Sequence[Genome] = (),
        error_of: ErrorOf = probe_error,
    ) -> Strategy: ...


STRATEGIES: dict[str, StrategyBuilder] = {
    "evolution": Evolution,
    "random": Random,
    "optuna-tpe": optuna.tpe,
    "optuna-nsga2": optuna.nsga2,
}


POPULATION = "population"
"""The strategy whose members train while they are searched: :class:`search.strategies.population.Population`."""


def check_strategy(name: str) -> None:
    """Raises ValueError where no strategy has this name; the nearest is proposed."""
    names = [*STRATEGIES, POPULATION]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
        raise ValueError(f"search.strategy: there is no {name!r}; {hint}")


def make_strategy(
    name: str,
    space: Space,
    population: int,
    cost: str,
    seed: int,
    seeds: Sequence[Genome] = (),
    error_of: ErrorOf = probe_error,
) -> Strategy:
    """The strategy of :data:`STRATEGIES` called ``name``.

    Args:
        population: individuals that survive selection.
        cost: metric that is the second objective beside the error.
        seeds: starting individuals, proposed first and in this order.
        error_of: the first objective of an evaluation.

    Raises:
        ValueError: no strategy has that name.
    """
    check_strategy(name)
    return STRATEGIES[name](space, seed, population, cost, seeds, error_of)
