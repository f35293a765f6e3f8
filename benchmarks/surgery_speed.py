"""Genomes to compact networks per second, against Torch-Pruning's own surgery, side by side in one process.

    python benchmarks/surgery_speed.py [--genomes 40] [--networks googlenet resnet50]

The base networks are torchvision's as the project builds them, for 64×64 images and 1000 classes, with random weights;
ranks of six criteria are random numbers: speed depends on neither. Genomes are drawn from a space without a budget, one
blend per resolution.

Ours is :meth:`spaces.foundation.Foundation.build`: widths, blended ranks, choice of channels, compact network in eval
mode. Theirs is ``copy.deepcopy`` of the base network, a ``MetaPruner`` with a cached example input, and its ``step``,
at the same widths. Its importance is a look-up of scores made beforehand, free of charge, that lead it to the very
channels that the blend keeps; so every pair of networks is compared whole: each tensor bit by bit, and the outputs on
a batch of images.

Ours and theirs take turns, one torch thread, in CPU seconds of the process; garbage is collected before each turn.
Published is the median of the pairs' ratios with its 95% interval.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from spaces.foundation import Candidate, Foundation, Trunk, clusters_of
from spaces.groups import Group
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.randomness import numpy_generator, torch_generator
from spaces.space import Space
from workers.measure.latency import Interval, median_interval
from workers.threads import torch_threads

SHAPE = (3, 64, 64)
CLASSES = 1000
CRITERIA = ("one", "two", "three", "four", "five", "six")
WARM_UP = 3
IMAGES = 8
TOLERANCE = 1e-5
"""Largest difference of two outputs, of their spread between images."""


@dataclass(frozen=True)
class Result:
    """Seconds per network of either side, their ratios, and the greatest difference of two outputs."""

    ours: list[float]
    theirs: list[float]
    ratio: Interval
    difference: float


def make_foundation(name: str) -> Foundation:
    """The foundation of torchvision's ``name``: random weights and ranks, norms that fit random images."""
    network = build_network(NetworkSpec(name, SHAPE, CLASSES), torch_generator(0, "surgery speed", name))
    with torch.no_grad():
        network.train()(torch.randn(IMAGES, *SHAPE, generator=torch_generator(0, "norms", name)))
    layout = make_layout(network.eval(), torch.zeros(2, *SHAPE))
    rng = numpy_generator(0, "ranks", name)
    ranks = {group.name: rng.random((len(CRITERIA), group.size)) for group in layout.groups}
    space = Space({(): layout}, CRITERIA, clusters_of({(): layout}, "stage"))
    return Foundation(space, {(): Trunk(network, layout, ranks)})


class TorchPruning:
    """Torch-Pruning's surgery to the channels that it is told to keep."""

    def __init__(self, network: nn.Module, groups: tuple[Group, ...], example: Tensor) -> None:
        self._network = network
        self._groups = groups
        self._example = example

    def prune(self, scores: Mapping[str, Tensor], widths: Mapping[str, int]) -> nn.Module:
        """A copy of the network with the ``widths`` best channels of every group.

        Args:
            scores: by the name of any layer that makes channels of a group, float ``[its outputs]``.
            widths: by group name.
        """
        network = copy.deepcopy(self._network)
        names = {module: name for name, module in network.named_modules()}
        ratios = {
            # The pruner rounds what stays down: half a channel more makes it exact.
            network.get_submodule(group.producers()[0].layer): 1 - (widths[group.name] + 0.5) / group.size
            for group in self._groups
            if widths[group.name] < group.size
        }
        pruner = tp.pruner.MetaPruner(
            network,
            self._example,
            importance=lambda traced: scores.get(names[traced[0].dep.target.module]),
            pruning_ratio=0.0,
            pruning_ratio_dict=ratios,
            # Its defaults are shared between all pruners of a process and keep every network alive.
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )
        pruner.step()
        return network


def scores_for(groups: tuple[Group, ...], kept: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Scores, all different, that put the ``kept`` channels first; by layer, as :meth:`TorchPruning.prune` asks."""
    found = {}
    for group in groups:
        score = np.arange(group.size)
        score[kept[group.name]] += group.size
        for member in group.producers():
            found[member.layer] = torch.from_numpy(score[member.channels]).float()
    return found


@torch.no_grad()
def difference(ours: nn.Module, theirs: nn.Module, images: Tensor) -> float:
    """Greatest difference of two networks' outputs, of their spread between images.

    Raises:
        RuntimeError: they differ by more than :data:`TOLERANCE`, in a tensor, or in the text of a layer.
    """
    mine, other = ours.state_dict(), theirs.state_dict()
    strange = [k for k, v in mine.items() if not torch.equal(v, other[k])] or sorted(set(mine) ^ set(other))
    if strange or str(ours) != str(theirs):
        raise RuntimeError(f"the two networks are not the same: {strange or 'declared sizes'}")
    expected = theirs(images)
    spread = float((expected - expected.mean(dim=0)).abs().max())
    found = float((ours(images) - expected).abs().max()) / spread
    if not found <= TOLERANCE:
        raise RuntimeError(f"the outputs differ by {found:.1e} of their spread")
    return found


def race(foundation: Foundation, count: int) -> Result:
    """Build ``count`` genomes' networks in pairs, and compare each pair."""
    trunk = foundation.trunks[()]
    groups = trunk.layout.groups
    pruning = TorchPruning(trunk.network, groups, torch.zeros(1, *SHAPE))
    images = torch.randn(IMAGES, *SHAPE, generator=torch_generator(0, "images"))
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    worst = 0.0
    for i in range(WARM_UP + count):
        genome = foundation.space.sample(numpy_generator(0, "surgery speed", i))
        kept = foundation.kept(genome)
        scores = scores_for(groups, kept)
        widths = {name: len(channels) for name, channels in kept.items()}
        lanes: dict[str, Callable[[], Any]] = {
            "ours": lambda g=genome: foundation.build(g),  # type: ignore[misc]
            "theirs": lambda s=scores, w=widths: pruning.prune(s, w),  # type: ignore[misc]
        }
        made = {}
        for lane in list(lanes)[:: 1 if i % 2 else -1]:
            gc.collect()
            began = time.process_time()
            made[lane] = lanes[lane]()
            times[lane].append(time.process_time() - began)
        candidate: Candidate = made["ours"]
        worst = max(worst, difference(candidate.network, made["theirs"].eval(), images))
    ours, theirs = times["ours"][WARM_UP:], times["theirs"][WARM_UP:]
    return Result(ours, theirs, median_interval([b / a for a, b in zip(ours, theirs, strict=True)]), worst)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=int, default=40)
    parser.add_argument("--networks", nargs="+", default=["googlenet", "resnet50"], help="torchvision's names")
    options = parser.parse_args()
    table = Table(title=f"genome to compact network, {options.genomes} genomes each")
    columns = ("", "niwaki/s", "torch-pruning/s", "ms", "ms", "times as fast, median [95%]", "greatest difference")
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    with torch_threads(1):
        for name in options.networks:
            found = race(make_foundation(name), options.genomes)
            rates = [f"{len(t) / sum(t):.1f}" for t in (found.ours, found.theirs)]
            medians = [f"{statistics.median(t) * 1e3:.1f}" for t in (found.ours, found.theirs)]
            table.add_row(name, *rates, *medians, str(found.ratio), f"{found.difference:.1g}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
