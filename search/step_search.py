"""Per-group keep ratios by bisection under a falling bound on accuracy: a starting individual for the search.

After the structural search with step constraint of Xie et al., "Pruning with Compensation", 2021 (arXiv 2108.13728):
groups are narrowed one after the other, in the network's order, each as far as the accuracy of all that is narrowed so
far allows; the bound falls by the same step from group to group. The paper evaluates on its test images; here it is a
probe like any other, on the validation split.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from search.controls import BISECTIONS, plain_weights
from spaces.genome import Genome
from spaces.space import Space

LAST_BOUND = 0.5
"""Of the base network's accuracy: what must be left, untrained, when the last group is narrowed."""

MOST_POWER = 16.0
"""Of keep ratios: at most so far are they narrowed to a budget before the space's own repair does the rest."""


def step_search(space: Space, base_accuracy: float, bisections: int) -> Generator[Genome, float, Genome]:
    """Yields genomes, is sent the accuracy of each (0 where its probe failed), and returns the one that it found.

    ``bisections`` probes a group of the ungrown network. Channels are those of the criterion ``compensation`` where
    the space has it, else of L1. The genomes on the way ignore the budget; the result meets it.
    """
    found = space.uniform(1.0, _weights(space))
    names = space.ungrown.names
    for i, name in enumerate(names, start=1):
        bound = base_accuracy * (1 - (1 - LAST_BOUND) * i / len(names))
        place, narrow, wide = space.groups.index(name), space.min_keep, 1.0
        for _ in range(bisections):
            middle = (narrow + wide) / 2
            enough = (yield _with(found, place, middle)) >= bound
            narrow, wide = (narrow, middle) if enough else (middle, wide)
        found = _with(found, place, wide)
    # With room in the budget for the whole network the answer is as narrow as the bounds let it be, not as wide.
    roomy = space.budget.met(space.cost(space.uniform(1.0)))
    return space.repair(found) if roomy else to_budget(space, found)


def to_budget(space: Space, genome: Genome) -> Genome:
    """``genome`` with all its keep ratios raised to one power: the least with which it meets the space's budget."""

    def at(power: float) -> Genome:
        return space.normalise(replace(genome, keep=tuple(ratio**power for ratio in genome.keep)))

    low, high = 0.0, MOST_POWER
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if space.budget.met(space.cost(at(middle))) else (middle, high)
    return space.repair(at(high))


def _with(genome: Genome, place: int, ratio: float) -> Genome:
    keep = list(genome.keep)
    keep[place] = ratio
    return replace(genome, keep=tuple(keep))


def _weights(space: Space) -> tuple[float, ...]:
    if "compensation" not in space.criteria:
        return plain_weights(space)
    return tuple(float(name == "compensation") for name in space.criteria)
