"""Greedy growth: an Inception module where it brings most accuracy for its multiply-accumulates.

Tian, Arbel and Clark ("Grow-Push-Prune", arXiv 2009.13716) grow a network by basic Inception modules where the task
needs more; their rule is not published. Ours: every stage is tried in turn, from the present weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from spaces.groups import example_input
from spaces.growth import grow, growths
from spaces.layout import make_layout
from spaces.randomness import seed_for
from workers.batches import Tensors, place
from workers.measure.accuracy import measure_accuracy
from workers.recipes.push_prune import BATCH_SIZE, scoring_sample
from workers.train import TrainSettings, train


@dataclass(frozen=True)
class Grown:
    """What growing came to.

    Attributes:
        network: the best of the last step, trained on.
        growth: modules added per stage.
        epochs: of all trials together.
    """

    network: nn.Module
    growth: tuple[int, ...]
    epochs: int


def grow_greedily(
    network: nn.Module,
    data: Tensors,
    validation: Tensors,
    trial: TrainSettings,
    steps: int,
    least_gain: float,
    seed: int,
) -> Grown:
    """Grow by up to ``steps`` modules, one at a time; a step whose best gain is under ``least_gain`` is the last.

    In a step the network as it is and, for each stage, the network with one module more are trained alike; each grown
    one begins as the function that the network computes now. The most validation accuracy gained per multiply-
    accumulate added wins, of those that gain enough.

    Args:
        network: an Inception network, pruned or not; left as it is.
        trial: of each trial.
        least_gain: accuracy in [0, 1] over the network that is not grown and trained as long.

    Raises:
        ValueError: the network cannot grow.
    """
    sites = [g for g in growths(network, 1) if sum(g) == 1]
    if not sites:
        raise ValueError(f"{type(network).__name__} cannot grow; only inception networks can")
    growth, epochs = (0,) * len(sites[0]), 0
    images = scoring_sample(data, seed)
    batch, _ = next(images.batches(BATCH_SIZE))
    for step in range(steps):
        tried: dict[tuple[int, ...], tuple[nn.Module, float, int]] = {}
        for site in [(0,) * len(growth), *sites]:
            candidate = place(grow(network, site, batch), data) if any(site) else copy.deepcopy(network)
            # The same seed for all: the order of images is no reason to grow.
            train(candidate, data, trial, seed_for(seed, "trial", step))
            tried[site] = candidate, measure_accuracy(candidate, validation).accuracy, _macs(candidate, data)
            epochs += trial.epochs
        kept, before, macs = tried.pop((0,) * len(growth))
        gains = {site: accuracy - before for site, (_, accuracy, _) in tried.items()}
        enough = [site for site in sites if gains[site] >= least_gain]
        if not enough:
            return Grown(kept, growth, epochs)
        best = max(enough, key=lambda site: gains[site] / max(1, tried[site][2] - macs))
        network = tried[best][0]
        growth = tuple(a + b for a, b in zip(growth, best, strict=True))
    return Grown(network, growth, epochs)


def _macs(network: nn.Module, data: Tensors) -> int:
    channels, height, width = data.images.shape[1:]
    layout = make_layout(network, example_input((channels, height, width), data.labels.device))
    return layout.cost(layout.full()).macs
