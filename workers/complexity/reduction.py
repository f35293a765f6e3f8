"""How few images would do? Class overlap on ever smaller parts of a data set, and the smallest that shows no change.

After Branchaud-Charron, Achkar & Jodoin, CVPR 2019 (arXiv 1905.07299), who reduce a data set for as long as its CSG
stays what it was. CSG also rises because neighbours are farther apart among fewer images, so the advice errs on the
side of keeping them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spaces.randomness import torch_generator
from workers.complexity.csg import Interval, csg, csg_interval

LEAST_PER_CLASS = 10
"""Images that the smallest class keeps on the lowest rung."""
TOLERANCE = 0.02
"""Change of CSG / (K − 1) that counts for none. Where all images of a small set are sampled its interval has no width,
and nothing would ever be alike."""


@dataclass(frozen=True)
class Rung:
    """A part of the data set, and its CSG over draws of such parts with the 95% interval."""

    images: int
    csg: Interval


@dataclass(frozen=True)
class Reduction:
    """The ladder, largest part first; the first rung is the whole set.

    Attributes:
        tolerance: of CSG itself, by which the whole set's interval was widened.
        advised: images of the smallest part whose interval, and that of every larger part, overlaps that.
    """

    rungs: tuple[Rung, ...]
    tolerance: float
    advised: int


def reduce_data(
    embedding: Tensor,
    labels: Tensor,
    seed: int,
    repeats: int = 10,
    samples: int = 250,
    neighbours: int = 3,
    volume: bool = True,
    tolerance: float = TOLERANCE,
) -> Reduction:
    """CSG on stratified random parts of a data set, each half of the one before.

    Every class keeps its share. The parts of one repeat lie one within the other, and depend on ``seed`` alone.

    Args:
        embedding: floating ``[N, D]``, computed once, on all images.
        labels: integers ``[N]``.
        repeats: parts drawn for each rung, at least 2.
        tolerance: share of the greatest possible CSG, K − 1, that a part may be off.
        samples, neighbours, volume: see :func:`workers.complexity.csg.csg`, whose errors are raised here, too.
    """
    whole = csg_interval(embedding, labels, seed, repeats, samples, neighbours, volume)
    _, counts = torch.unique(labels, return_counts=True)
    rungs = [Rung(len(labels), whole.csg)]
    orders = [_order(labels, torch_generator(seed, "reduction", repeat)) for repeat in range(repeats)]
    for number, share in enumerate(_shares(int(counts.min())), start=1):
        values = []
        for repeat, order in enumerate(orders):
            rows = part_of(labels, order, share)
            generator = torch_generator(seed, "reduction", "samples", number, repeat)
            values.append(csg(embedding[rows], labels[rows], generator, samples, neighbours, volume).csg)
        rungs.append(Rung(len(rows), Interval.of(values)))
    allowed = tolerance * (whole.classes - 1)
    return Reduction(tuple(rungs), allowed, _advise(rungs, allowed))


def part_of(labels: Tensor, order: Tensor, share: float) -> Tensor:
    """The first ``share`` of every class in ``order``, rounded, at least one: sorted indices, int64."""
    chosen = []
    for name in torch.unique(labels):
        rows = order[labels[order] == name]
        chosen.append(rows[: max(1, round(share * len(rows)))])
    return torch.cat(chosen).sort().values


def _order(labels: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(labels), generator=generator).to(labels.device)


def _shares(smallest_class: int) -> list[float]:
    halvings = math.floor(math.log2(max(1.0, smallest_class / LEAST_PER_CLASS)))
    return [2.0**-step for step in range(1, halvings + 1)]


def _advise(rungs: list[Rung], tolerance: float) -> int:
    whole = rungs[0].csg
    advised = rungs[0].images
    for rung in rungs[1:]:
        if rung.csg.low > whole.high + tolerance or rung.csg.high < whole.low - tolerance:
            break
        advised = rung.images
    return advised
