"""What a forecast is made from: named inputs of a candidate, in groups.

``benchmarks/predictor.py`` prints what each group is worth on a table of trainings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spaces.genome import Genome
from spaces.layout import Layout
from spaces.space import Space
from workers.measure.embedding import NAMES as EMBEDDING

Inputs = dict[str, float]


@dataclass(frozen=True)
class Candidate:
    """A probed candidate.

    Attributes:
        metrics: of its probe, as the archive holds them.
        embedding: of its probe; empty where no linear layer ends the network.
        tuned: validation accuracy after the short fine-tune; ``None`` where it had none.
    """

    genome: Genome
    metrics: Mapping[str, float]
    embedding: tuple[float, ...] = ()
    tuned: float | None = None


Group = Callable[[Space, Candidate], Inputs]


def size(space: Space, candidate: Candidate) -> Inputs:
    """Logarithms of the exact costs: the baseline that every other input has to beat."""
    cost = space.cost(candidate.genome)
    return {"params": math.log2(cost.params), "macs": math.log2(cost.macs)}


def shape(space: Space, candidate: Candidate) -> Inputs:
    """How the channels are spread: what the classifier reads, the mean and least log keep ratio of every cluster of
    groups, and the growth.
    """
    genome, layout = candidate.genome, space.layout(candidate.genome)
    widths = space.widths(genome)
    kept = np.log2(widths / layout.sizes)
    clusters = np.array([space.clusters[name] for name in layout.names])
    found = {f"growth.{i}": float(modules) for i, modules in enumerate(genome.growth)}
    found["read"] = math.log2(layout.counts(widths)[_last_linear(layout), 0])
    for cluster in range(space.blends):
        ratios = kept[clusters == cluster]
        found[f"keep.{cluster}"] = float(ratios.mean()) if len(ratios) else 0.0
        found[f"narrowest.{cluster}"] = float(ratios.min()) if len(ratios) else 0.0
    return found


def blend(space: Space, candidate: Candidate) -> Inputs:
    """The weights of the criteria, averaged over the clusters."""
    weights = np.mean(candidate.genome.blend, axis=0) if candidate.genome.blend else np.zeros(0)
    return {f"blend.{name}": float(w) for name, w in zip(space.criteria, weights, strict=False)}


def probe(_: Space, candidate: Candidate) -> Inputs:
    """What the probe measured of the network's own answers."""
    metrics = candidate.metrics
    found = {"accuracy": _odds(metrics["accuracy"])} if "accuracy" in metrics else {}
    if "loss" in metrics:
        found["loss"] = math.log(metrics["loss"] + 1e-3)
    return found


def refit(_: Space, candidate: Candidate) -> Inputs:
    """What it measured once the classifier was refitted."""
    return {"refit": _odds(candidate.metrics["refit_accuracy"])} if "refit_accuracy" in candidate.metrics else {}


def feature_csg(_: Space, candidate: Candidate) -> Inputs:
    """How far the classes overlap in the candidate's own features."""
    return {"feature_csg": candidate.metrics["feature_csg"]} if "feature_csg" in candidate.metrics else {}


def embedding(_: Space, candidate: Candidate) -> Inputs:
    """Statistics of the candidate's features."""
    return {f"embedding.{n}": v for n, v in zip(EMBEDDING, candidate.embedding, strict=False)}


def proxies(_: Space, candidate: Candidate) -> Inputs:
    """Zero-cost proxies, where the probe measured any."""
    return {name: value for name, value in candidate.metrics.items() if name.startswith("proxy_")}


def tuned(_: Space, candidate: Candidate) -> Inputs:
    """Accuracy after the short fine-tune."""
    return {} if candidate.tuned is None else {"tuned": _odds(candidate.tuned)}


GROUPS: Mapping[str, Group] = {
    "size": size,
    "shape": shape,
    "blend": blend,
    "refit": refit,
    "probe": probe,
    "feature_csg": feature_csg,
    "embedding": embedding,
    "proxies": proxies,
    "tuned": tuned,
}

GENOME = ("size", "shape")
"""The groups of a forecast from a genome alone."""

PROCESS = (*GENOME, "refit")
"""The groups that the Gaussian process of a forecast from a probe is given; the trees are given all."""

MEASURED = ("probe", "feature_csg", "embedding", "proxies")
"""The groups that only the trees are given."""

PROBED = (*PROCESS, *MEASURED)
"""The groups of a forecast from a probe."""


def matrix(space: Space, candidates: Sequence[Candidate], groups: Sequence[str]) -> np.ndarray:
    """Inputs of ``candidates``, float ``[N, D]``; columns are those of the first candidate.

    Raises:
        ValueError: a candidate lacks an input that the first one has.
    """
    rows = [_gather(space, candidate, groups) for candidate in candidates]
    names = list(rows[0]) if rows else []
    missing = next(
        ((name, c) for row, c in zip(rows, candidates, strict=True) for name in names if name not in row), None
    )
    if missing is not None:
        raise ValueError(
            f"candidate {missing[1].genome.id} lacks {missing[0]!r}, which others of the same forecast have"
        )
    return np.array([[row[name] for name in names] for row in rows], dtype=float).reshape(len(rows), len(names))


def _gather(space: Space, candidate: Candidate, groups: Sequence[str]) -> Inputs:
    found: Inputs = {}
    for name in groups:
        found.update(GROUPS[name](space, candidate))
    return found


def _last_linear(layout: Layout) -> int:
    """Index of the classifier, or of the last layer where no linear one ends the network."""
    linear = [i for i, layer in enumerate(layout.layers) if layer.kind == "linear"]
    return linear[-1] if linear else len(layout.layers) - 1


def _odds(accuracy: float, images: int = 200) -> float:
    """Log-odds, kept from growing without bound at 0 and 1."""
    return math.log((accuracy * images + 0.5) / ((1 - accuracy) * images + 0.5))
