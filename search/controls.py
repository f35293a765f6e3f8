"""Plain alternatives that a search is held against, at the size of its chosen candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from spaces.budget import Budget
from spaces.genome import Genome
from spaces.space import Space

DESCRIPTIONS = {
    "uniform": "one keep ratio everywhere, channels by L1 norm, at the chosen candidate's size",
    "sensitivity": "per-group ratios by one bound on each group's own loss of accuracy (FastNAS, AIMET), same size",
    "random": "the best by probe of as many random genomes as the search probed, same training",
    "scratch": "the chosen architecture from fresh weights, trained for the base's and its own epochs together",
}


def plain_weights(space: Space) -> tuple[float, ...]:
    """The blend of someone who does not blend: L1 alone, or the first criterion where L1 is not among them."""
    first = space.criteria.index("l1") if "l1" in space.criteria else 0
    return tuple(float(i == first) for i in range(len(space.criteria)))


def uniform_control(space: Space, budget: Budget) -> Genome:
    """The widest uniform genome within ``budget``."""
    return replace(space, budget=budget).repair(space.uniform(1.0, plain_weights(space)))


def sensitivity_ladder(space: Space, levels: int) -> list[tuple[str, float, Genome]]:
    """One genome per (group, level): that group at keep ratio 2^−level, all others whole. They ignore the budget."""
    layout = space.layouts[min(space.layouts)]
    whole = space.uniform(1.0, plain_weights(space))
    ladder = []
    for name in layout.names:
        place = space.groups.index(name)
        for level in range(1, levels + 1):
            keep = list(whole.keep)
            keep[place] = max(space.min_keep, 0.5**level)
            ladder.append((name, keep[place], replace(whole, keep=tuple(keep))))
    return ladder


def sensitivity_control(
    space: Space, budget: Budget, measured: Mapping[tuple[str, float], float], base_accuracy: float
) -> Genome:
    """Per group the least keep ratio whose own loss of accuracy stays under a bound; the least bound within ``budget``.

    Args:
        measured: accuracy of the ladder's probes by (group, keep ratio); missing ones count as total loss.
        base_accuracy: accuracy of the uncompressed network.
    """
    layout = space.layouts[min(space.layouts)]
    whole = space.uniform(1.0, plain_weights(space))
    curves = {name: _loss_curve(name, measured, base_accuracy) for name in layout.names}
    within = replace(space, budget=budget)

    def at(bound: float) -> Genome:
        keep = list(whole.keep)
        for name, curve in curves.items():
            fitting = [ratio for ratio, loss in curve if loss <= bound]
            keep[space.groups.index(name)] = min(fitting, default=1.0)
        return replace(whole, keep=tuple(keep))

    bounds = sorted({loss for curve in curves.values() for _, loss in curve})
    for bound in bounds:
        genome = space.normalise(at(bound))
        if budget.met(space.cost(genome)):
            return genome
    return within.repair(at(max(bounds, default=0.0)))


def _loss_curve(
    name: str, measured: Mapping[tuple[str, float], float], base_accuracy: float
) -> Sequence[tuple[float, float]]:
    """(keep ratio, loss of accuracy) from wide to narrow, made monotone: narrower is never counted as better."""
    points = sorted(
        ((ratio, base_accuracy - acc) for (group, ratio), acc in measured.items() if group == name), reverse=True
    )
    losses = accumulate((max(0.0, loss) for _, loss in points), max)
    return [(ratio, loss) for (ratio, _), loss in zip(points, losses, strict=True)]
