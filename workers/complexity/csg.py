"""Class overlap of a data set before any network is trained: the Cumulative Spectral Gradient.

Branchaud-Charron, Achkar & Jodoin, "Spectral Metric for Dataset Complexity Assessment", CVPR 2019 (arXiv 1905.07299),
as the authors' package spectral-metric 0.6.1 computes it. CSG grows as N falls and as k grows: compare values only at
equal N, samples, neighbours and embedding.

generator = torch_generator(0, "csg")
print(csg(embedding, labels, generator).relative)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from spaces.randomness import torch_generator
from workers.complexity.neighbours import nearest

LEAST_VOLUME = 1e-4
"""The authors' floor under the volume around a sample."""

LEAST_EFFECTIVE_SAMPLES = 30
"""With fewer in a class, a few samples in tiny volumes decide: do not trust the figures."""


@dataclass(frozen=True)
class Csg:
    """How much the classes overlap.

    Attributes:
        csg: 0 where the classes are apart, ``classes - 1`` where they are all the same.
        auls: area under the Laplacian's spectrum: the same sum without the cumulative maximum.
        cmsauls: cumulative-maximum scaled area of the squared spectrum (Li et al., arXiv 2209.14743).
        spectrum: eigenvalues of the Laplacian, ascending, float64 ``[K]``.
        similarity: of the classes' rows of ``votes``, 1 - Bray-Curtis, in [0, 1], symmetric, float64 ``[K, K]``.
        votes: of which class the neighbours of class i's samples are; rows sum to 1, float64 ``[K, K]``.
        effective_samples: least over classes of (Σw)² / Σw², w the weights of a class's samples.
        classes: K.
    """

    csg: float
    auls: float
    cmsauls: float
    spectrum: Tensor
    similarity: Tensor
    votes: Tensor
    effective_samples: float
    classes: int

    @property
    def relative(self) -> float:
        """CSG / (K - 1), in [0, 1]: comparable between numbers of classes."""
        return self.csg / (self.classes - 1)

    @property
    def confusion(self) -> float:
        """cmsAULS on the scale of an error, in [0, 1 - 1/K]; see :func:`confusion_of`."""
        return confusion_of(self.cmsauls, self.classes)


@dataclass(frozen=True)
class Interval:
    """A mean over draws with its 95 % confidence interval (Student's t)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Of two draws or more."""
        table = torch.tensor(values, dtype=torch.float64)
        mean = float(table.mean())
        half = float(stats.t.ppf(0.975, len(values) - 1)) * float(table.std()) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half)


@dataclass(frozen=True)
class CsgInterval:
    """Figures over ``repeats`` draws of samples.

    Attributes:
        spectrum: mean over draws, float64 ``[K]``.
        similarity: mean over draws, float64 ``[K, K]``.
        effective_samples: the least of any draw.
    """

    csg: Interval
    auls: Interval
    cmsauls: Interval
    relative: Interval
    spectrum: Tensor
    similarity: Tensor
    effective_samples: float
    classes: int
    repeats: int

    @property
    def confusion(self) -> float:
        """The mean cmsAULS on the scale of an error; see :func:`confusion_of`."""
        return confusion_of(self.cmsauls.mean, self.classes)


def csg(
    embedding: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    samples: int = 250,
    neighbours: int = 3,
    volume: bool = True,
) -> Csg:
    """CSG of an embedding from ``samples`` random points of every class.

    Args:
        embedding: floating ``[N, D]``; standardise its axes, for the volume depends on their scale.
        labels: integers ``[N]``; any values, gaps between them count for nothing.
        generator: on the CPU.
        samples: M, points drawn per class; all of a class that has fewer.
        neighbours: k, of every drawn point, among all N.
        volume: weigh every sample by one over the volume of its neighbourhood, as the paper does. Between 5 and some
            1,000 dimensions a few samples then outweigh all others (see ``effective_samples``); without, it is a plain
            average of votes, and the diagonal of ``votes`` is the k-nearest-neighbour accuracy.

    Raises:
        ValueError: fewer than two classes or ``neighbours + 1`` points, shapes that do not fit, values not finite.
    """
    _check(embedding, labels, neighbours)
    return csg_of_samples(embedding, labels, draw_samples(labels, samples, generator), neighbours, volume)


def draw_samples(labels: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Indices of ``samples`` random points of every class (all where there are fewer): int64 ``[S]``, by class.

    Raises:
        ValueError: ``samples`` below 1.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}: draw at least 1 point of every class")
    shuffled = torch.randperm(len(labels), generator=generator).to(labels.device)
    shuffled = shuffled[labels[shuffled].argsort(stable=True)]
    _, sizes = torch.unique(labels, return_counts=True)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return shuffled[torch.arange(len(labels), device=labels.device) - first < samples]


def csg_of_samples(embedding: Tensor, labels: Tensor, chosen: Tensor, neighbours: int = 3, volume: bool = True) -> Csg:
    """CSG from the samples ``chosen``, int64 ``[S]``; the rest as :func:`csg`.

    Equal to the authors' code on the same samples, but that it breaks ties in distance by index (theirs in no order)
    and keeps volumes as logarithms: where theirs overflow and end in NaN, these do not.

    Raises:
        ValueError: as :func:`csg`, or a class without a sample.
    """
    _check(embedding, labels, neighbours)
    names, dense = torch.unique(labels, return_inverse=True)
    around, volumes = _neighbourhoods(embedding, chosen, neighbours)
    if not volume:
        volumes = torch.zeros_like(volumes)
    return _from_votes(dense[chosen], dense[around], volumes, len(names))


def csg_interval(
    embedding: Tensor,
    labels: Tensor,
    seed: int,
    repeats: int = 10,
    samples: int = 250,
    neighbours: int = 3,
    volume: bool = True,
) -> CsgInterval:
    """CSG over ``repeats`` draws of samples; arguments and errors as :func:`csg`.

    The interval tells what other samples of the same points would give, not other points. Where every class has at
    most ``samples`` points all draws are the same, and the interval has no width.

    Raises:
        ValueError: also for fewer than 2 repeats.
    """
    _check(embedding, labels, neighbours)
    if repeats < 2:
        raise ValueError(f"repeats is {repeats}: an interval takes at least 2 draws")
    draws = [draw_samples(labels, samples, torch_generator(seed, "csg", repeat)) for repeat in range(repeats)]
    names, dense = torch.unique(labels, return_inverse=True)
    union, place = torch.unique(torch.cat(draws), return_inverse=True)
    around, volumes = _neighbourhoods(embedding, union, neighbours)
    if not volume:
        volumes = torch.zeros_like(volumes)
    runs = [
        _from_votes(dense[union[rows]], dense[around[rows]], volumes[rows], len(names))
        for rows in torch.split(place, [len(draw) for draw in draws])
    ]
    return CsgInterval(
        csg=Interval.of([run.csg for run in runs]),
        auls=Interval.of([run.auls for run in runs]),
        cmsauls=Interval.of([run.cmsauls for run in runs]),
        relative=Interval.of([run.relative for run in runs]),
        spectrum=torch.stack([run.spectrum for run in runs]).mean(0),
        similarity=torch.stack([run.similarity for run in runs]).mean(0),
        effective_samples=min(run.effective_samples for run in runs),
        classes=len(names),
        repeats=repeats,
    )


def confusion_of(cmsauls: float, classes: int) -> float:
    """The error, in [0, 1 - 1/K], that cmsAULS amounts to were all classes alike.

    Classes that share a part w of their votes with every other have cmsAULS K (K - 1) w² / 2, and a sample that is
    given the class of a random such vote errs in w (1 - 1/K).
    """
    return (1 - 1 / classes) * math.sqrt(max(0.0, cmsauls) / (classes * (classes - 1) / 2))


def _check(embedding: Tensor, labels: Tensor, neighbours: int) -> None:
    if embedding.ndim != 2 or not embedding.is_floating_point() or embedding.shape[1] < 1:
        raise ValueError(f"embedding is {embedding.dtype} {list(embedding.shape)}: give floating [N, D], D at least 1")
    if labels.shape != embedding.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels is {labels.dtype} {list(labels.shape)} for {len(embedding)} points: give integers [N], one a point"
        )
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}: give at least 1")
    if len(embedding) <= neighbours:
        raise ValueError(f"{len(embedding)} points are too few for {neighbours} neighbours of each: give more points")
    if labels.amin() == labels.amax():
        raise ValueError("all points are of one class: overlap takes at least two")
    # One pass without a mask of the embedding's size: a NaN survives both.
    if not (embedding.amax() < 1e150 and embedding.amin() > -1e150):
        raise ValueError("the embedding has values that are not finite, or beyond 1e150: mend or scale it first")


def _neighbourhoods(embedding: Tensor, chosen: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Neighbours of every sample, int64 ``[S, k]``, and log volumes of the boxes around it that hold them, ``[S]``."""
    # The nearest of all is taken to be the sample itself, as the authors do; of duplicates it is the first.
    around = nearest(embedding, chosen, neighbours + 1)[:, 1:]
    volumes = torch.empty(len(chosen), dtype=torch.float64, device=embedding.device)
    rows = max(1, 2**21 // (neighbours * embedding.shape[1]))
    for part, block, out in zip(
        torch.split(chosen, rows), torch.split(around, rows), torch.split(volumes, rows), strict=True
    ):
        reach = (embedding[block].double() - embedding[part].double()[:, None]).abs().amax(1)
        out.copy_((2 * reach).log().sum(1))
    return around, volumes.clamp_min(math.log(LEAST_VOLUME))


def _from_votes(own: Tensor, others: Tensor, volumes: Tensor, classes: int) -> Csg:
    """CSG from the classes of samples ``[S]``, those of their neighbours ``[S, k]`` and log volumes ``[S]``."""
    present = len(torch.unique(own))
    if present < classes:
        raise ValueError(f"only {present} of {classes} classes have a sample: choose some of each")
    # Only ratios within a class count: its least volume becomes 1, and none can over- or underflow together.
    least = torch.full((classes,), math.inf, dtype=torch.float64, device=own.device)
    least.scatter_reduce_(0, own, volumes, "amin")
    weights = (least[own] - volumes).exp()
    total = torch.bincount(own, weights, minlength=classes)
    effective = total.square() / torch.bincount(own, weights.square(), minlength=classes)
    cells = (own[:, None] * classes + others).flatten()
    shares = weights.repeat_interleave(others.shape[1]) / others.shape[1]
    votes = torch.bincount(cells, shares, minlength=classes**2).view(classes, classes) / total[:, None]
    # Rows are distributions, for which Bray-Curtis is half the sum of differences.
    similarity = (1 - torch.cdist(votes, votes, p=1) / 2).clamp(0, 1)
    laplacian = -similarity
    laplacian.fill_diagonal_(0)
    laplacian.diagonal().sub_(laplacian.sum(1))
    spectrum = torch.linalg.eigvalsh(laplacian)
    room = torch.arange(classes, 1, -1, dtype=torch.float64, device=own.device)
    gradient = spectrum.diff() / room
    return Csg(
        csg=float(gradient.cummax(0).values.sum()),
        auls=float(gradient.sum()),
        cmsauls=float((spectrum.square().diff() / (2 * room)).cummax(0).values.sum()),
        spectrum=spectrum,
        similarity=similarity,
        votes=votes,
        effective_samples=float(effective.amin()),
        classes=classes,
    )
