"""Criteria clustering: of criteria that rank channels alike, a blend needs but one.

Stage one of He et al., "Blending Pruning Criteria for Convolutional Neural Networks", ICANN 2021 (arXiv 2107.05033):
layer by layer, criteria are clustered on the ranks that they give. Distance (1 − Spearman's ρ) and average linkage are
choices of ours, the paper's abstract names none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from spaces.agreement import mean_agreement, spearman

SILENT = -1
"""The cluster of criteria that tell no channels apart: they are part of no blend."""


def cluster_criteria(tables: Sequence[np.ndarray], count: int) -> tuple[int, ...]:
    """The cluster of each criterion, for groups that share a blend: 0 … at most ``count`` − 1, or :data:`SILENT`.

    Clusters are numbered by their first criterion. The distance of two criteria is their mean one over the groups in
    which both tell channels apart, so that a gene means the same criterion in each of them; where there is no such
    group it is that of unrelated ones.

    Args:
        tables: ranks of each group, float ``[J, C]``, rows as :func:`spaces.blend.ranks` gives them; not empty.
        count: clusters wanted, ≥ 1; fewer where fewer criteria say anything.
    """
    mean = mean_agreement(map(spearman, tables))
    found = np.full(len(mean), SILENT)
    speaking = np.flatnonzero(np.isfinite(mean.diagonal()))
    if len(speaking) == 0:
        return tuple(found.tolist())
    mean = np.nan_to_num(mean, nan=0.0)
    distance = (1.0 - mean)[np.ix_(speaking, speaking)]
    np.fill_diagonal(distance, 0.0)
    labels = np.ones(1, dtype=int)
    if len(speaking) > 1:
        labels = fcluster(linkage(squareform(distance, checks=False), "average"), count, "maxclust")
    order = list(dict.fromkeys(labels.tolist()))
    found[speaking] = [order.index(label) for label in labels.tolist()]
    return tuple(found.tolist())
