"""The ten steps of the Cumulative Spectral Gradient as plain loops, to hold the batched one against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import laplacian
from scipy.spatial.distance import braycurtis


@dataclass(frozen=True)
class Expected:
    csg: float
    auls: float
    cmsauls: float
    spectrum: np.ndarray
    similarity: np.ndarray
    votes: np.ndarray
    effective_samples: float


def neighbours_of(points: np.ndarray, sample: int, count: int) -> np.ndarray:
    distances = np.square(points - points[sample]).sum(1)
    return np.argsort(distances, kind="stable")[:count]


def plain_csg(points: np.ndarray, labels: np.ndarray, chosen: np.ndarray, k: int, volume: bool = True) -> Expected:
    """``labels`` in 0 … K - 1; ties in distance go to the lower index."""
    classes = int(labels.max()) + 1
    votes = np.zeros((classes, classes))
    weights: list[list[float]] = [[] for _ in range(classes)]
    for sample in chosen:
        around = neighbours_of(points, sample, k + 1)[1:]
        share = np.array([(labels[around] == j).sum() / k for j in range(classes)])
        box = max(1e-4, float(np.prod(2 * np.abs(points[around] - points[sample]).max(0)))) if volume else 1.0
        votes[labels[sample]] += share / box
        weights[labels[sample]].append(1 / box)
    votes /= votes.sum(1, keepdims=True)
    similarity = np.array([[1 - braycurtis(a, b) for b in votes] for a in votes])
    spectrum = np.linalg.eigh(laplacian(similarity, normed=False))[0]
    gradient = [(spectrum[i + 1] - spectrum[i]) / (classes - i) for i in range(classes - 1)]
    squared = [(spectrum[i + 1] ** 2 - spectrum[i] ** 2) / (2 * (classes - i)) for i in range(classes - 1)]
    return Expected(
        csg=sum(max(gradient[: i + 1]) for i in range(classes - 1)),
        auls=sum(gradient),
        cmsauls=sum(max(squared[: i + 1]) for i in range(classes - 1)),
        spectrum=spectrum,
        similarity=similarity,
        votes=votes,
        effective_samples=min(sum(w) ** 2 / sum(v * v for v in w) for w in weights),
    )
