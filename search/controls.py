"""Plain alternatives that a search is held against, at the size of its chosen candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from spaces.budget import Budget
from spaces.genome import Genome
from spaces.space import Space

DESCRIPTIONS = {
    "uniform": "one keep ratio everywhere, channels by L1 norm, at the chosen candidate's size",
    "sensitivity": "per-group ratios by one bound on each group's own loss of accuracy (FastNAS, AIMET), same size",
    "random": "the best by probe of as many random genomes as the search probed, same training",
    "scratch": "the chosen architecture from fresh weights, trained for the base's and its own epochs together",
    "bar": "channels switched off by trained gates (budget-aware regularisation), same size, same epochs",
    "push_prune": "discriminant pushing and pruning by turns (Grow-Push-Prune), same size, same epochs",
}


BISECTIONS = 30


def plain_weights(space: Space) -> tuple[float, ...]:
    """The blend of someone who does not blend: L1 alone, or the first criterion where L1 is not among them."""
    first = space.criteria.index("l1") if "l1" in space.criteria else 0
    return tuple(float(i == first) for i in range(len(space.criteria)))


def uniform_control(space: Space, budget: Budget) -> Genome:
    """The widest uniform genome within ``budget``."""
    return replace(space, budget=budget).repair(space.uniform(1.0, plain_weights(space)))


def sensitivity_ladder(space: Space, levels: int) -> list[tuple[str, float, Genome]]:
    """One genome per (group, level): that group at keep ratio 2^−level, all others whole. They ignore the budget."""
    layout = space.ungrown
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

    Losses between measured ratios are interpolated, so that the bound can be bisected to the budget.

    Args:
        measured: accuracy of the ladder's probes by (group, keep ratio); a group without any stays whole.
        base_accuracy: accuracy of the uncompressed network.
    """
    layout = space.ungrown
    whole = space.uniform(1.0, plain_weights(space))
    curves = {name: _loss_curve(name, measured, base_accuracy) for name in layout.names}

    def at(bound: float) -> Genome:
        keep = list(whole.keep)
        for name, curve in curves.items():
            keep[space.groups.index(name)] = _least_ratio(curve, bound)
        return space.normalise(replace(whole, keep=tuple(keep)))

    low, high = 0.0, max((curve[-1][1] for curve in curves.values()), default=0.0)
    if not budget.met(space.cost(at(high))):
        return replace(space, budget=budget).repair(at(high))
    if budget.met(space.cost(at(low))):
        return at(low)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if budget.met(space.cost(at(middle))) else (middle, high)
    return at(high)


def _least_ratio(curve: Sequence[tuple[float, float]], bound: float) -> float:
    """Where the piecewise linear ratio → loss curve exceeds ``bound``; its narrowest ratio if it never does."""
    for (wide, less), (narrow, more) in pairwise(curve):
        if more > bound:
            return wide + (narrow - wide) * (bound - less) / (more - less)
    return curve[-1][0]


def _loss_curve(
    name: str, measured: Mapping[tuple[str, float], float], base_accuracy: float
) -> Sequence[tuple[float, float]]:
    """(keep ratio, loss of accuracy) from whole to narrow, made monotone: narrower is never counted as better."""
    found = sorted(
        ((ratio, base_accuracy - acc) for (group, ratio), acc in measured.items() if group == name), reverse=True
    )
    points = [(1.0, 0.0), *found]
    losses = accumulate((loss for _, loss in points), max)
    return [(ratio, loss) for (ratio, _), loss in zip(points, losses, strict=True)]
