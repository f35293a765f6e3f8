"""Budget-aware regularisation: is it always within its budget, and does it beat magnitude pruning at the same volume?

    python benchmarks/bar.py                                  # digits; about three minutes on a core
    NIWAKI_DATA=folder python benchmarks/bar.py --data signs --widths 24 48 96

First table: 20 random networks, budgets and quantities, trained with gates for a few epochs on digits; a row is over if
its network is. Second: a wide residual network is pruned to a share of its activation volume (1/16), by gates and by
magnitude (L1, one ratio for all groups); both get the same epochs after the base training, the gated ones included, and
the same distillation while fine-tuning. Test accuracy by seed, and the paired difference with its 95% interval.
"""

from __future__ import annotations

import argparse
import statistics
import time
from fractions import Fraction

import numpy as np
import torch
from pruning_bench import (
    SETS,
    ImageSet,
    WideResidual,
    by_criterion,
    finished,
    interval,
    load_set,
    residual_base,
    soft_labels,
    some,
)
from rich.console import Console
from rich.table import Table
from torch import nn

from spaces.groups import example_input
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.quantity import MEASURES, make_quantity
from spaces.randomness import numpy_generator, seed_for, torch_generator
from spaces.shedding import widest
from spaces.surgery import compact
from workers.bar import BarSettings, bar
from workers.batches import place
from workers.measure.accuracy import measure_accuracy
from workers.threads import torch_threads
from workers.train import TrainSettings


def random_network(images: ImageSet, rng: np.random.Generator, seed: int) -> nn.Module:
    """A residual or an Inception network of random widths, untrained."""
    if rng.integers(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return WideResidual(images.shape[0], images.classes, rng.integers(6, 25, 3).tolist())
    arguments = {
        "stem": int(rng.integers(4, 33)),
        "widths": rng.integers(12, 49, 2).tolist(),
        "modules": rng.integers(1, 3, 2).tolist(),
    }
    spec = NetworkSpec("inception", images.shape, images.classes, arguments)
    return build_network(spec, torch_generator(seed, "weights"))


def landings(images: ImageSet, count: int, epochs: int) -> Table:
    """Random networks, budgets and quantities, and where they end."""
    table = Table(title=f"{count} random networks and budgets, {epochs} epochs with gates on {images.name}")
    for column in ("network", "groups", "quantity", "whole", "budget", "share", "gates end at", "network", "within"):
        table.add_column(column)
    over = 0
    for i in range(count):
        rng = numpy_generator(0, "landing", i)
        network = place(random_network(images, rng, i), images.train)
        layout = make_layout(network, example_input(images.shape))
        measure = MEASURES[int(rng.integers(len(MEASURES)))]
        quantity = make_quantity(layout, measure)  # type: ignore[arg-type]
        whole, least = quantity.count(layout.full()), quantity.count(np.ones_like(layout.sizes))
        budget = max(least, int(whole * 2.0 ** -rng.uniform(0.2, 5)))
        training = TrainSettings(epochs=epochs, batch_size=16, distillation=0.9)
        # From too slow to close a gate to so fast that all of them close: the end must be the same.
        settings = BarSettings(measure, speed=float(rng.choice([10, 40, 160])))  # type: ignore[arg-type]
        found = bar(network, layout, images.train, budget, training, settings, i)
        small = compact(found.network, layout, found.kept)
        # Counted from the built network, not from the formula that the method itself trusts.
        own = make_layout(small, example_input(images.shape))
        real = make_quantity(own, measure).count(own.full())  # type: ignore[arg-type]
        over += real > budget
        kind = type(network).__name__
        cells = (kind, len(layout.groups), measure, f"{whole:,}", f"{budget:,}", f"{budget / whole:.3f}")
        table.add_row(*map(str, cells), f"{found.gated:,}", f"{real:,}", "yes" if real <= budget else "NO")
    table.caption = f"over budget: {over} of {count}"
    return table


def duel(images: ImageSet, options: argparse.Namespace) -> Table:
    """Gates against magnitude at the same volume and the same epochs, seed by seed."""
    share = Fraction(options.share)
    title = f"{images.name} {images.shape}: {options.share} of the activation volume, {options.gated} + {options.tune} "
    table = Table(title=title + "epochs after the base training; test accuracy")
    columns = "seed", "base", "BAR", "params", "volume", "L1 uniform", "params", "volume", "BAR − L1", "seconds"
    for column in columns:
        table.add_column(column)
    differences, ends = [], []
    for seed in range(options.seeds):
        began = time.perf_counter()
        network, layout = residual_base(images, options.widths, options.base_epochs, seed)
        quantity = make_quantity(layout, "volume")
        budget = int(share * quantity.count(layout.full()))
        teacher = soft_labels(network, images)
        gated = TrainSettings(epochs=options.gated, batch_size=32, shift=1, distillation=0.9)
        settings = BarSettings("volume", options.strength, options.speed)
        found = bar(network, layout, images.train, budget, gated, settings, seed_for(seed, "gates"))
        tune = TrainSettings(epochs=options.tune, shift=1, distillation=0.5)
        ours, _ = finished(found.network, layout, found.kept, images, tune, seed, teacher)
        widths = widest(layout, quantity, budget)
        kept = by_criterion(network, layout, widths, "l1", some(images.train, 64, seed), seed)
        longer = TrainSettings(epochs=options.gated + options.tune, shift=1, distillation=0.5)
        plain, _ = finished(network, layout, kept, images, longer, seed, teacher)
        own = np.array([len(found.kept[name]) for name in layout.names])
        differences.append(ours - plain)
        ends.append((measure_accuracy(network, images.test).accuracy, ours, plain))
        base, *_ = ends[-1]
        mine = (f"{ours:.2%}", f"{layout.cost(own).params:,}", f"{found.amount:,}")
        theirs = (f"{plain:.2%}", f"{layout.cost(widths).params:,}", f"{quantity.count(widths):,}")
        took = f"{time.perf_counter() - began:.0f}"
        table.add_row(str(seed), f"{base:.2%}", *mine, *theirs, f"{100 * differences[-1]:+.2f}", took)
        print(f"seed {seed}: BAR {ours:.2%} {own.tolist()} (gates ended at {found.gated:,}),", end=" ")
        print(f"L1 {plain:.2%} {widths.tolist()}, of {layout.full().tolist()}", flush=True)
    base, ours, plain = (f"{statistics.mean(v):.2%}" for v in zip(*ends, strict=True))
    table.add_row("mean", base, ours, "", f"≤ {budget:,}", plain, "", "", interval(differences), "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="digits", help="of the second table")
    parser.add_argument("--size", type=int, default=16, help="side of the images, but for digits")
    parser.add_argument("--limit", type=int, help="most training and validation images")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--share", default="1/16", help="of the activation volume")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--base-epochs", type=int, default=8)
    parser.add_argument("--gated", type=int, default=15, help="epochs with gates")
    parser.add_argument("--tune", type=int, default=15, help="epochs after them")
    parser.add_argument("--strength", type=float, default=BarSettings.strength)
    parser.add_argument("--speed", type=float, default=BarSettings.speed)
    parser.add_argument("--landings", type=int, default=20, help="random networks of the first table; 0 leaves it out")
    options = parser.parse_args()
    console = Console(width=150)
    with torch_threads(1):
        if options.landings:
            console.print(landings(load_set("digits", 8, 300), options.landings, 5))
        if options.seeds:
            console.print(duel(load_set(options.data, options.size, options.limit), options))


if __name__ == "__main__":
    main()
