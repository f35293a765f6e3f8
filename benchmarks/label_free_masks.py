"""Which channels matter, learnt without labels: masks of a network trained to tell rotations, retrained with labels.

    python benchmarks/label_free_masks.py                                    # digits; some four minutes on a core
    NIWAKI_DATA=folder python benchmarks/label_free_masks.py --data signs --size 12

After Caron et al., "Pruning Convolutional Neural Networks with Self-Supervision" (arXiv 2001.03554), with channels in
place of single weights and one cut in place of many. A small Inception network is trained from the same first weights
twice: with the labels, and to tell by how many quarters each image was turned (Gidaris et al., arXiv 1803.07728).
Either way the channels of least L1 norm go, by one ratio for all groups, down to a share of the parameters. What stays
is trained with labels: from its first weights, so that the mask alone makes a difference, and from the weights that it
was found in, with a new last layer where they were learnt without labels. Random masks are beside them. Test accuracy,
and the paired difference to the masks of labels with its 95% interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from statistics import mean

import numpy as np
import torch
from grow_push_prune import fresh, parameters
from pruning_bench import SETS, ImageSet, by_criterion, finished, interval, load_set, some
from rich.console import Console
from rich.table import Table
from torch import nn

from spaces.groups import example_input
from spaces.layout import Layout, make_layout
from spaces.quantity import make_quantity
from spaces.randomness import seed_for
from spaces.shedding import widest
from workers.batches import Tensors
from workers.threads import torch_threads
from workers.train import TrainSettings, train

MASKS = ("labels", "rotations", "random")
Kept = Mapping[str, np.ndarray]


def turned(data: Tensors) -> Tensors:
    """All images by none to three quarters of a turn; the label is how many."""
    images = torch.cat([data.images.rot90(quarters, (2, 3)) for quarters in range(4)])
    return replace(data, images=images, labels=torch.arange(4).repeat_interleave(len(data)))


def with_trunk(network: nn.Module, trained: nn.Module) -> nn.Module:
    """``network`` with the weights of ``trained``, but for its own last layer."""
    own = network.state_dict()
    network.load_state_dict({k: v if v.shape == own[k].shape else own[k] for k, v in trained.state_dict().items()})
    return network


def measure(images: ImageSet, shares: list[str], epochs: int, seed: int) -> dict[tuple[str, str, str], float]:
    """Test accuracy by share, weights that training starts from, and mask."""
    first = fresh(images, seed)
    labelled = fresh(images, seed)
    train(labelled, images.train, TrainSettings(epochs=epochs, shift=1), seed_for(seed, "labels"))
    unlabelled = with_trunk(fresh(replace(images, classes=4), seed), first)
    settings = TrainSettings(epochs=max(1, epochs // 2), shift=1)  # four times as many images
    train(unlabelled, turned(images.train), settings, seed_for(seed, "rotations"))
    transferred = with_trunk(fresh(images, seed), unlabelled)
    layout = make_layout(first, example_input(images.shape))
    found = {}
    for share in shares:
        budget = int(Fraction(share) * parameters(first))
        widths = widest(layout, make_quantity(layout, "params"), budget)
        own = {"labels": labelled, "rotations": transferred, "random": labelled}
        for name in MASKS:
            kept = mask(own[name], layout, widths, name, images, seed)
            for start, network in (("first", first), ("own", own[name])):
                tuning = TrainSettings(epochs=epochs, shift=1)
                found[share, start, name], _ = finished(network, layout, kept, images, tuning, seed)
    return found


def mask(network: nn.Module, layout: Layout, widths: np.ndarray, name: str, images: ImageSet, seed: int) -> Kept:
    """Channels that stay; their norms are read from ``network``."""
    criterion = "random" if name == "random" else "l1"
    trained_layout = make_layout(network, example_input(images.shape))
    assert trained_layout.names == layout.names
    return by_criterion(network, trained_layout, widths, criterion, some(images.train, 64, seed), seed)


def as_table(images: ImageSet, shares: list[str], rows: list[dict[tuple[str, str, str], float]]) -> Table:
    """One line a share and start."""
    table = Table(title=f"{images.name} {images.shape}, {len(rows)} seeds: test accuracy by where the mask comes from")
    for column in ("parameters", "trained on from", *MASKS, "rotations − labels [95%]", "random − labels [95%]"):
        table.add_column(column)
    for share in shares:
        for start, shown in (("first", "first weights"), ("own", "weights it was found in")):
            values = {name: [row[share, start, name] for row in rows] for name in MASKS}
            against = [
                interval([a - b for a, b in zip(values[name], values["labels"], strict=True)]) for name in MASKS[1:]
            ]
            table.add_row(share, shown, *(f"{mean(values[name]):.2%}" for name in MASKS), *against)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="digits")
    parser.add_argument("--size", type=int, default=16, help="side of the images, but for digits")
    parser.add_argument("--limit", type=int, help="most training and validation images")
    parser.add_argument("--shares", nargs="+", default=["1/4", "1/16", "1/32"], help="of the parameters")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    with torch_threads(1):
        images = load_set(options.data, options.size, options.limit)
        for seed in range(options.seeds):
            rows.append(measure(images, options.shares, options.epochs, seed))
            print(seed, {" ".join(key): round(100 * value, 2) for key, value in rows[-1].items()}, flush=True)
    Console(width=150).print(as_table(images, options.shares, rows))


if __name__ == "__main__":
    main()
