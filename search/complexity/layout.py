"""Classes as points in the plane: those that overlap lie near each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

_LEAST_TIE = 1e-3


def class_map(similarity: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Spectral embedding of the classes' similarity, float64 ``[K, 2]``, each axis scaled to a greatest extent of 1.

    The two leading non-trivial eigenvectors of the regularised, normalised affinity: a tie of mean strength is added
    between all classes (Amini et al., Annals of Statistics 41, 2013), for without it one class that stands apart
    pushes all others into one spot. Two classes have one axis; the other is 0.

    Args:
        similarity: float ``[K, K]``, symmetric, in [0, 1], K at least 2; the diagonal is not looked at.
    """
    classes = len(similarity)
    ties = similarity.astype(np.float64).copy()
    np.fill_diagonal(ties, 0.0)
    ties += max(ties.sum() / (classes * (classes - 1)), _LEAST_TIE)
    scale = 1 / np.sqrt(ties.sum(1))
    values, vectors = np.linalg.eigh(scale[:, None] * ties * scale)
    leading = np.argsort(-values, kind="stable")[1:3]
    points = np.zeros((classes, 2))
    for axis, column in enumerate(leading):
        coordinates = scale * vectors[:, column]
        greatest = np.abs(coordinates).argmax()
        points[:, axis] = coordinates / coordinates[greatest]
    return points


def cluster_order(similarity: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """An order of the classes, int64 ``[K]``, in which those that overlap stand side by side.

    That of the leaves of average linkage on ``1 − similarity``, turned so that neighbours are most alike.

    Args:
        similarity: as for :func:`class_map`.
    """
    distance = 1 - (similarity + similarity.T) / 2
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)
