"""Steady-state NSGA-II (Deb et al. 2002): each result may enter the population, each proposal is bred from it.

Random until ``population`` probes have succeeded, so that the first survivors are not merely the first arrivals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from deap import base

from search.front import Point, best, standing, tournament
from search.strategies.objectives import ErrorOf, probe_error, probe_point
from search.strategies.unseen import Seen
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import Evaluation

CROSSOVER = 0.9
"""Probability that a child has two parents; every child is mutated as well."""


class Evolution:
    """Proposes the starting individuals, then random ones, then children of the survivors.

    A proposal is a function of (seed, number, what was told): each decision has its own generator, and the DEAP
    operators that use Python's global ``random`` are not used. Failures, trainings and incomplete measurements never
    enter the population.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        cost: str,
        seeds: Sequence[Genome] = (),
        error_of: ErrorOf = probe_error,
    ) -> None:
        """``population`` individuals survive, by the objectives (``error_of``, metric ``cost``)."""
        self._space = space
        self._seed = seed
        self._population = population
        self._cost = cost
        self._error_of = error_of
        self._seeds = deque(dict.fromkeys(seeds))
        self._seen = Seen()
        self._survivors: list[tuple[Genome, Point]] = []
        self._standing: list[tuple[int, float]] = []
        self._learnt = 0
        self._toolbox = base.Toolbox()
        self._toolbox.register("mate", space.crossover)
        self._toolbox.register("mutate", space.mutate)
        self._toolbox.register("select", tournament)

    @property
    def survivors(self) -> tuple[Genome, ...]:
        """The population, at most ``population`` genomes."""
        return tuple(genome for genome, _ in self._survivors)

    def ask(self, number: int) -> Genome:
        """A genome within budget that was never proposed or told before."""
        if self._seeds:
            genome = self._seeds.popleft()
            self._seen.add(genome)
            return genome

        def sample(attempt: int) -> Genome:
            return self._space.sample(numpy_generator(self._seed, "start", number, attempt))

        if self._learnt < self._population:
            return self._seen.first_new(sample)
        parents = self._parents(number)

        def child(attempt: int) -> Genome:
            rng = numpy_generator(self._seed, "child", number, attempt)
            mother, father = parents
            genome = self._toolbox.mate(mother, father, rng) if rng.random() < CROSSOVER else mother
            mutated: Genome = self._toolbox.mutate(genome, rng)
            return mutated

        return self._seen.first_new(child, sample)

    def tell(self, evaluation: Evaluation) -> None:
        """Let a succeeded probe into the population and drop who does not survive: O(p log p), p = ``population``."""
        genome = evaluation.request.genome
        self._seen.add(genome)
        point = probe_point(evaluation, self._cost, self._error_of)
        if point is None:
            return
        self._learnt += 1
        # A genome told again (a control, a repetition) replaces itself: twice in the population it would breed twice.
        pool = [(g, p) for g, p in self._survivors if g.id != genome.id]
        pool.append((genome, point))
        standings = standing([p for _, p in pool])
        kept = sorted(best(standings, self._population))
        self._survivors = [pool[i] for i in kept]
        # As they stood before the weakest left: so the parents of NSGA-II are compared, and it saves a second sort.
        self._standing = [standings[i] for i in kept]

    def _parents(self, number: int) -> tuple[Genome, Genome]:
        rng = numpy_generator(self._seed, "parents", number)
        mother, father = (self._toolbox.select(self._standing, rng) for _ in range(2))
        return self._survivors[mother][0], self._survivors[father][0]
