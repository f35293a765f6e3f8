"""A tiny real search space for tests of strategies, and a synthetic evaluation over it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from spaces.budget import Budget
from spaces.genome import Genome
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.space import Growth, Space
from workers.evaluation import OK, PROBE, Evaluation, Outcome, Request

CRITERIA = ("l1", "taylor", "fpgm")


@lru_cache(maxsize=1)
def tiny_space() -> Space:
    """Fifteen groups of an Inception network that can grow by one module, within three quarters of its parameters."""
    layouts: dict[Growth, Layout] = {}
    for growth in (0, 1):
        arguments = {"stem": 8, "widths": [16, 16], "modules": [1, 1 + growth]}
        network = build_network(NetworkSpec("inception", (1, 8, 8), 10, arguments))
        layouts[growth,] = make_layout(network, torch.zeros(2, 1, 8, 8))
    base = layouts[0,]
    clusters = {name: i % 2 for i, name in enumerate(layouts[1,].names)}
    budget = Budget(params=base.cost(base.full()).params * 3 // 4)
    return Space(layouts, CRITERIA, clusters, budget)


def evaluate(space: Space, genome: Genome) -> dict[str, float]:
    """A separable problem: each group's width lowers the error by its own importance, a grown module by a tenth.

    The importances spread over two orders of magnitude, so that uniform ratios are far from the front.
    """
    names, sizes = space.layouts[0,].names, space.layouts[0,].sizes
    kept = dict(zip(space.layout(genome).names, space.widths(genome).tolist(), strict=True))
    missing = (1.0 - np.array([kept[name] for name in names]) / sizes) ** 2
    importance = np.exp(np.random.default_rng(7).normal(0.0, 1.5, len(names)))
    error = float((importance * missing).sum() / importance.sum()) * (1.0 - 0.1 * genome.growth[0])
    cost = space.cost(genome)
    violation = space.budget.violation(cost)
    return {"accuracy": 1.0 - error, "params": cost.params, "macs": cost.macs, "violation": violation}


def probed(space: Space, number: int, genome: Genome, origin: str = "strategy") -> Evaluation:
    """A succeeded probe of ``genome``."""
    request = Request(number, PROBE, genome, origin)
    return Evaluation(request, Outcome(number, OK, metrics=evaluate(space, genome)))
