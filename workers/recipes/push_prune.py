"""Push and prune by turns: training gathers class separation in few neurons, what carries none of it goes.

After Tian, Arbel and Clark, "Grow-Push-Prune" (arXiv 2009.13716), with the pruning step of their "Task dependent deep
LDA pruning of neural networks" (CVIU 203, 2021, 103154): a channel's utility is the last features' discriminant utility
traced back to it, and one threshold serves all layers, in units of each layer's own spread of utilities. The papers
raise that threshold until accuracy suffers; here it is the least that meets a budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from spaces.criteria import resolve, score_groups
from spaces.dealing import deal
from spaces.groups import example_input
from spaces.layout import Layout, make_layout
from spaces.quantity import Measure, make_quantity
from spaces.randomness import numpy_generator, seed_for, torch_generator
from spaces.shedding import check_reachable, shed
from spaces.surgery import compact
from workers.batches import Tensors, place
from workers.recalibrate import recalibrate
from workers.train import TrainSettings, train

TrainPart = Callable[[int, nn.Module, TrainSettings, int], None]
"""(part, network, settings, seed): trains the network in place."""

SCORING_IMAGES = 512
BATCH_SIZE = 128


@dataclass(frozen=True)
class Slimmed:
    """What a method has left of a network.

    Attributes:
        network: slim, trained, eval mode.
        widths: channels per group of the layout that the whole network has.
    """

    network: nn.Module
    widths: Mapping[str, int]


def push_and_prune(
    network: nn.Module,
    data: Tensors,
    budget: int,
    measure: Measure,
    training: TrainSettings,
    rounds: int,
    seed: int,
    keep: Sequence[str] = (),
    train_part: TrainPart | None = None,
) -> Slimmed:
    """Train and prune ``rounds`` times down to ``budget``, by equal ratios, and train what is left.

    Args:
        network: on the device of ``data``; it is trained in place.
        budget: in units of ``measure``.
        training: of all rounds together: its epochs are dealt out, each part with a schedule of its own. The last part
            is trained without push.
        rounds: at least 1.
        keep: shell patterns of layers to keep from pruning.
        train_part: trains part i, in place of :func:`workers.train.train`; for trainings that are resumed.

    Raises:
        OutOfReach: not even one channel per group fits.
        Diverged: a loss is not finite.
        ValueError: groups are named by positions of channels, which pruning moves.
    """
    shape = tuple(data.images.shape[1:])
    first = make_layout(network, example_input((shape[0], shape[1], shape[2]), data.labels.device), keep)
    check_reachable(first, make_quantity(first, measure), budget)
    widths, whole = dict(zip(first.names, first.full().tolist(), strict=True)), None
    for part, epochs in enumerate(deal(training.epochs, rounds + 1)):
        last = part == rounds
        settings = replace(training, epochs=epochs, push=0.0 if last else training.push)
        own = seed_for(seed, "part", part)
        if train_part is None:
            train(network, data, settings, own)
        else:
            train_part(part, network, settings, own)
        if last:
            break
        layout = make_layout(network, example_input((shape[0], shape[1], shape[2]), data.labels.device), keep)
        quantity = make_quantity(layout, measure)
        now = quantity.count(layout.full())
        whole = whole or now
        present = max(budget, int(whole * (budget / whole) ** ((part + 1) / rounds)))
        sample = scoring_sample(data, seed)
        values = utilities(network, layout, sample, seed)
        kept = shed(layout, quantity, present, values)
        moved = sorted(kept.keys() - widths.keys())
        if moved:
            raise ValueError(f"{moved[0]}: channels that share a layer cannot be followed through two rounds")
        widths |= {name: len(channels) for name, channels in kept.items()}
        network = place(compact(network, layout, kept), data)
        recalibrate(network, sample, BATCH_SIZE)
    return Slimmed(network, widths)


def utilities(network: nn.Module, layout: Layout, scoring: Tensors, seed: int) -> np.ndarray:
    """Deep discriminant utility of every channel in units of its group's spread, float64 ``[channels]``.

    A group whose utilities are all alike tells nothing: its channels count one unit each.
    """
    images, labels = next(scoring.batches(len(scoring)))
    scores = score_groups(
        network,
        layout,
        resolve(["discriminant"]),
        images,
        labels,
        BATCH_SIZE,
        lambda *what: torch_generator(seed, *what),
    )
    rows = [scores[name][0] for name in layout.names]
    return np.concatenate([row / row.std() if row.std() > 0 else np.ones_like(row) for row in rows])


def scoring_sample(data: Tensors, seed: int) -> Tensors:
    """A mixed sample of the training images: the papers need one image a class, and gain little from more."""
    order = numpy_generator(seed, "scoring images").permutation(len(data))[:SCORING_IMAGES]
    index = torch.from_numpy(order).to(data.labels.device)
    return replace(data, images=data.at(index), labels=data.labels[index])
