"""Evolution on the forecast itself: thousands of genomes looked at for the price of none.

As NSGANetV2 does (Lu et al., "NSGANetV2: Evolutionary Multi-Objective Surrogate-Assisted Neural Architecture Search",
ECCV 2020, alg. 2): NSGA-II over the predicted error and the exact cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from search.front import Point, best, standing, tournament
from search.strategies.evolution import CROSSOVER
from spaces.genome import Genome
from spaces.space import Space

POPULATION, GENERATIONS = 40, 12

Errors = Callable[[Sequence[Genome]], np.ndarray]
"""Predicted errors of genomes, float ``[N]``."""


def evolve(space: Space, errors: Errors, cost: str, start: Sequence[Genome], rng: np.random.Generator) -> list[Genome]:
    """All genomes that survived at some time, the last survivors first; none twice, none of ``start``.

    Args:
        start: where it begins from, best first; random ones fill up.
    """
    genomes = list(dict.fromkeys(start))[:POPULATION]
    genomes += [space.sample(rng) for _ in range(POPULATION - len(genomes))]
    points = _points(space, errors, cost, genomes)
    found: dict[Genome, None] = {}
    for _ in range(GENERATIONS):
        order = standing(points)
        children = [_child(space, genomes, order, rng) for _ in range(POPULATION)]
        children = [g for g in dict.fromkeys(children) if g not in set(genomes)]
        points += _points(space, errors, cost, children)
        genomes += children
        kept = best(standing(points), POPULATION)
        genomes, points = [genomes[i] for i in kept], [points[i] for i in kept]
        found = {**dict.fromkeys(genomes), **found}
    known = set(start)
    return [g for g in {**dict.fromkeys(genomes), **found} if g not in known]


def _child(
    space: Space, genomes: Sequence[Genome], order: Sequence[tuple[int, float]], rng: np.random.Generator
) -> Genome:
    mother = genomes[tournament(order, rng)]
    child = mother
    if rng.random() < CROSSOVER:
        child = space.crossover(mother, genomes[tournament(order, rng)], rng)
    return space.mutate(child, rng)


def _points(space: Space, errors: Errors, cost: str, genomes: Sequence[Genome]) -> list[Point]:
    if not genomes:
        return []
    return [
        Point(0.0, (float(error), float(getattr(space.cost(genome), cost))))
        for error, genome in zip(errors(genomes), genomes, strict=True)
    ]
