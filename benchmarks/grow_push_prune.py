"""Grow-push-prune against plain training and L1 pruning, at equal parameters and equal epochs.

    python benchmarks/grow_push_prune.py                                    # digits; some three minutes on a core
    NIWAKI_DATA=folder python benchmarks/grow_push_prune.py --data signs --size 8

A small Inception network is brought to a share of its parameters (1/4) in three ways. Plain: trained, pruned by L1 with
one ratio for all groups, fine-tuned. Push, prune: trained with the push loss and pruned by deep discriminant utility by
turns. Grow, push, prune: before that, a module where a short trial finds it worth its cost. The budget is that of the
plain way for all. All have the same number of epochs, those of the trials and half of the plain way's fine-tuning
included. Test accuracy by seed, paired differences with their 95% interval, and how far growing moved the network's
outputs before it was trained on.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from fractions import Fraction

import torch
from pruning_bench import (
    SETS,
    ImageSet,
    by_criterion,
    finished,
    interval,
    load_set,
    some,
)
from rich.console import Console
from rich.table import Table
from torch import nn

from spaces.groups import example_input
from spaces.growth import grow, growths
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.quantity import make_quantity
from spaces.randomness import numpy_generator, seed_for, torch_generator
from spaces.shedding import widest
from workers.batches import Tensors, place
from workers.measure.accuracy import measure_accuracy, predict
from workers.recipes import grow_greedily, push_and_prune
from workers.threads import torch_threads
from workers.train import TrainSettings, train


def fresh(images: ImageSet, seed: int) -> nn.Module:
    """The untrained base network."""
    arguments = {"stem": 16, "widths": [32, 64], "modules": [1, 1]}
    spec = NetworkSpec("inception", images.shape, images.classes, arguments)
    return place(build_network(spec, torch_generator(seed, "base weights")), images.train)


def plain(images: ImageSet, budget: int, epochs: int, seed: int) -> tuple[float, int]:
    """Test accuracy and parameters: half of the epochs before pruning by L1, half after."""
    network = fresh(images, seed)
    train(network, images.train, TrainSettings(epochs=epochs - epochs // 2, shift=1), seed_for(seed, "base"))
    layout = make_layout(network, example_input(images.shape))
    widths = widest(layout, make_quantity(layout, "params"), budget)
    kept = by_criterion(network, layout, widths, "l1", some(images.train, 64, seed), seed)
    settings = TrainSettings(epochs=epochs // 2, shift=1)
    accuracy, small = finished(network, layout, kept, images, settings, seed)
    return accuracy, parameters(small)


def recipe(
    images: ImageSet, budget: int, epochs: int, seed: int, options: argparse.Namespace, steps: int
) -> tuple[float, int, tuple[int, ...]]:
    """Test accuracy, parameters and growth; ``steps`` of growing, a quarter of the epochs each, come first."""
    network, growth = fresh(images, seed), (0, 0)
    if steps:
        # A step tries each of two stages and neither: its trials are three times as long as what the network gains.
        trial = TrainSettings(epochs=max(1, epochs // 12), shift=1)
        learnt, held = halves(images.train, seed)
        grown = grow_greedily(network, learnt, held, trial, steps, -1.0, seed_for(seed, "grow"))
        network, growth, epochs = grown.network, grown.growth, epochs - grown.epochs
    settings = TrainSettings(epochs=epochs, shift=1, push=options.push)
    seed = seed_for(seed, "recipe")
    small = push_and_prune(network, images.train, budget, "params", settings, options.rounds, seed).network
    return measure_accuracy(small, images.test).accuracy, parameters(small), growth


def halves(data: Tensors, seed: int) -> tuple[Tensors, Tensors]:
    """Three quarters of the training images to learn from, one to judge growth by."""
    order = torch.from_numpy(numpy_generator(seed, "halves").permutation(len(data)))
    parts = order[len(data) // 4 :], order[: len(data) // 4]
    first, second = (replace(data, images=data.images[i], labels=data.labels[i]) for i in parts)
    return first, second


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def growing_table(images: ImageSet, seeds: int) -> Table:
    """What growing alone does: accuracy of parent and grown network, and the largest difference of their outputs."""
    table = Table(title="grown by one module in every stage, before any training: parent pruned to 1/2 and trained")
    for column in ("seed", "parent", "grown", "largest difference of logits", "of logits up to"):
        table.add_column(column)
    for seed in range(seeds):
        network = fresh(images, seed)
        budget = parameters(network) // 2
        network = push_and_prune(network, images.train, budget, "params", TrainSettings(epochs=4), 1, seed).network
        grown = grow(network, growths(network, 1)[-1], images.train.normalise(some(images.train, 256, seed).images))
        before, after = (predict(place(n, images.train), images.test) for n in (network, grown))
        accuracies = [f"{float((x.argmax(1) == images.test.labels).float().mean()):.2%}" for x in (before, after)]
        table.add_row(str(seed), *accuracies, f"{float((after - before).abs().max()):.1e}", f"{before.abs().max():.1f}")
    return table


def comparison(images: ImageSet, options: argparse.Namespace) -> Table:
    """The three ways, seed by seed."""
    start = fresh(images, 0)
    budget = int(Fraction(options.share) * parameters(start))
    title = f"{images.name} {images.shape}: {parameters(start):,} → {budget:,} parameters in {options.epochs} epochs"
    table = Table(title=title + "; test accuracy")
    for column in ("seed", "plain + L1", "params", "push, prune", "params", "grow, push, prune", "params", "growth"):
        table.add_column(column)
    ends = []
    for seed in range(options.seeds):
        a, a_params = plain(images, budget, options.epochs, seed)
        b, b_params, _ = recipe(images, budget, options.epochs, seed, options, 0)
        c, c_params, growth = recipe(images, budget, options.epochs, seed, options, 1)
        ends.append((a, b, c))
        cells = (f"{a:.2%}", f"{a_params:,}", f"{b:.2%}", f"{b_params:,}", f"{c:.2%}", f"{c_params:,}", str(growth))
        table.add_row(str(seed), *cells)
        print(seed, *cells, flush=True)
    means = [f"{statistics.mean(v):.2%}" for v in zip(*ends, strict=True)]
    table.add_row("mean", means[0], "", means[1], "", means[2], "", "")
    against = [interval([e[i] - e[0] for e in ends]) for i in (1, 2)]
    table.add_row("− plain [95%]", "", "", against[0], "", against[1], "", "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="digits")
    parser.add_argument("--size", type=int, default=16, help="side of the images, but for digits")
    parser.add_argument("--limit", type=int, help="most training and validation images")
    parser.add_argument("--share", default="1/4", help="of the parameters")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--push", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with torch_threads(1):
        images = load_set(options.data, options.size, options.limit)
        Console(width=150).print(comparison(images, options))
        Console(width=150).print(growing_table(images, min(3, options.seeds)))


if __name__ == "__main__":
    main()
