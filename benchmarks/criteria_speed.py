"""What the criteria cost: against one pass over the same images, and against Torch-Pruning's importances.

    python benchmarks/criteria_speed.py [--images 512] [--batch 64] [--repeats 5] [--threads 1] [--quick]

An untrained GoogLeNet for 64×64 images on the CPU, random images. A pass is forward and ``loss.backward()``. HRank's
singular values and White-Box's training are their own algorithms' and timed apart. Every repeat times ours and the
yardstick one after the other, in alternating order; published are medians of the pairs' ratios, in CPU seconds of the
process, after a warm-up.

Torch-Pruning's importances get their gradients as their documentation says: Taylor from one backward pass per batch,
Hessian from one per image (images alone, which is quicker than a batch's graph kept for each). Dependency graphs are
traced beforehand on either side. Rankings are compared group by group where both sides score the same filters (the
first layer of a group, no normaliser), as the mean of Spearman's coefficient; where its class computes something else
than its name says, a further row shows that ours of that something agrees.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch_pruning as tp
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria import CRITERIA, resolve, score_groups
from spaces.groups import example_input
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.randomness import torch_generator
from workers.threads import torch_threads

SHAPE, CLASSES = (3, 64, 64), 10
APART = ("hrank", "white_box")
BOTH = ("l1", "l2", "bn_scale", "fpgm", "lamp", "taylor", "fisher")

Scores = dict[str, dict[str, np.ndarray]]
"""By criterion and group."""


class Case:
    """A network with its images and its groups as either side traces them."""

    def __init__(self, count: int, batch: int) -> None:
        generator = torch_generator(0, "criteria speed")
        self.network = build_network(NetworkSpec("googlenet", SHAPE, CLASSES), generator).eval()
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
        self.layout: Layout = make_layout(self.network, example_input(SHAPE))
        self.images = torch.randn(count, *SHAPE, generator=generator)
        self.labels = torch.randint(CLASSES, (count,), generator=generator)
        self.batch = batch
        graph = tp.DependencyGraph().build_dependency(self.network, example_input(SHAPE))
        traced = list(graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]))
        names = {module: name for name, module in self.network.named_modules()}
        ours = {g.name: g.size for g in self.layout.groups}
        rooted = {names[group[0].dep.target.module]: group for group in traced}
        self.traced = {name: g for name, g in rooted.items() if ours.get(name) == len(g[0].idxs)}

    def one_pass(self) -> None:
        """Forward and backward over all images, gradients accumulated as in training."""
        self.network.zero_grad()
        for images, labels in zip(self.images.split(self.batch), self.labels.split(self.batch), strict=True):  # type: ignore[no-untyped-call]
            F.cross_entropy(self.network(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]

    def ours(self, names: Sequence[str], images: Tensor | None = None, labels: Tensor | None = None) -> Scores:
        """Scores of all groups, in one call."""
        tables = score_groups(
            self.network,
            self.layout,
            resolve(names),
            self.images if images is None else images,
            self.labels if labels is None else labels,
            self.batch,
            lambda criterion, group: torch_generator(0, criterion, group),
        )
        return {name: {group: table[i] for group, table in tables.items()} for i, name in enumerate(names)}

    def theirs(self) -> Scores:
        """Torch-Pruning's scores of the same groups."""
        first = {"group_reduction": "first", "normalizer": None}
        weights = {
            "l1": tp.importance.MagnitudeImportance(p=1, **first),
            "l2": tp.importance.MagnitudeImportance(p=2, **first),
            "bn_scale": tp.importance.BNScaleImportance(),
            "fpgm": tp.importance.FPGMImportance(p=2, **first),
            "lamp": tp.importance.LAMPImportance(group_reduction="first"),
        }
        found = {name: self._score(importance) for name, importance in weights.items()}
        self.one_pass()
        found["taylor"] = self._score(tp.importance.TaylorImportance(**first))
        hessian = tp.importance.HessianImportance(**first)
        for image, label in zip(self.images, self.labels, strict=True):
            self.network.zero_grad()
            F.cross_entropy(self.network(image[None]), label[None]).backward()  # type: ignore[no-untyped-call]
            hessian.accumulate_grad(self.network)
        found["fisher"] = self._score(hessian)
        self.network.zero_grad()
        return found

    def _score(self, importance: Callable[[object], Tensor]) -> dict[str, np.ndarray]:
        return {name: importance(group).detach().double().numpy() for name, group in self.traced.items()}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(work: Callable[[], object], yardstick: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median of the pairs' ratios, and the median seconds of either."""
    pairs = []
    for repeat in range(repeats):
        if repeat % 2:
            b = seconds(yardstick)
            a = seconds(work)
        else:
            a = seconds(work)
            b = seconds(yardstick)
        pairs.append((a, b))
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(a / b for a, b in pairs), statistics.median(ours), statistics.median(theirs)


def costs(case: Case, repeats: int) -> Table:
    """Criteria against one pass."""
    shared = [name for name in CRITERIA if name not in APART]
    table = Table(title=f"Passes over the same {len(case.images)} images")
    for column in ("criteria", "passes, median", "CPU s", "CPU s of a pass"):
        table.add_column(column, justify="left" if column == "criteria" else "right")
    case.ours(shared, case.images[: case.batch], case.labels[: case.batch])
    case.one_pass()
    rows: list[tuple[str, list[str], int]] = [(f"all but {' and '.join(APART)}, one call", shared, repeats)]
    rows += [(f"{name} alone", [name], 1 if name == "hrank" else repeats) for name in APART]
    for label, names, times in rows:
        median, own, whole = ratio(lambda names=names: case.ours(names), case.one_pass, times)  # type: ignore[misc]
        table.add_row(label, f"{median:.2f}", f"{own:.1f}", f"{whole:.1f}")
    return table


def race(case: Case, repeats: int) -> Table:
    """The seven that both sides have."""
    table = Table(title=f"{', '.join(BOTH)}: {len(case.images)} images")
    for column in ("", "CPU s", "ours / Torch-Pruning, median"):
        table.add_column(column, justify="right" if column else "left")
    median, own, other = ratio(lambda: case.ours(BOTH), case.theirs, repeats)
    table.add_row("niwaki", f"{own:.1f}", f"{median:.3f}")
    table.add_row("Torch-Pruning", f"{other:.1f}", "1")
    return table


def rankings(case: Case) -> Table:
    """Spearman's coefficient with Torch-Pruning's."""
    ours, theirs = case.ours(BOTH), case.theirs()
    last = case.ours(["fisher"], case.images[-1:], case.labels[-1:])["fisher"]
    squared = {name: _distances_of_squares(case.network, name) for name in case.traced}
    rows = [(name, ours[name], theirs[name]) for name in BOTH]
    rows.append(("fpgm of squared weights against its FPGM", squared, theirs["fpgm"]))
    rows.append(("fisher of the last image against its Hessian", last, theirs["fisher"]))
    table = Table(title=f"Rankings of {len(case.traced)} groups against Torch-Pruning's")
    for column in ("criterion", "Spearman, mean", "least"):
        table.add_column(column, justify="left" if column == "criterion" else "right")
    for name, a, b in rows:
        values = [float(spearmanr(a[group], b[group]).statistic) for group in case.traced]
        table.add_row(name, f"{np.mean(values):.4f}", f"{min(values):.4f}")
    return table


def _distances_of_squares(network: nn.Module, layer: str) -> np.ndarray:
    weight = network.get_submodule(layer).weight
    assert isinstance(weight, Tensor)
    rows = weight.detach().double().square().flatten(1)
    return torch.cdist(rows, rows).sum(dim=0).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="64 images, one repeat")
    options = parser.parse_args()
    count, repeats = (64, 1) if options.quick else (options.images, options.repeats)
    console = Console(width=120)
    with torch_threads(options.threads):
        case = Case(count, options.batch)
        for table in (rankings, lambda c: race(c, repeats), lambda c: costs(c, repeats)):
            console.print(table(case))


if __name__ == "__main__":
    main()
