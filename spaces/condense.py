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
    speaking, joins = join_alike(mean)
    labels = fcluster(joins, count, "maxclust").tolist() if len(speaking) > 1 else [1] * len(speaking)
    order = list(dict.fromkeys(labels))
    found[speaking] = [order.index(label) for label in labels]
    return tuple(found.tolist())


def join_alike(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average linkage of criteria on 1 − ρ, turned so that neighbours are most alike.

    Args:
        correlation: mean rank correlations, float ``[J, J]``, diagonal NaN for criteria that take no part. A pair that
            never takes part together counts as uncorrelated.

    Returns:
        Rows of the criteria that take part, int64 ``[M]``, ascending; and scipy's linkage matrix over them, float64
        ``[M − 1, 4]``, empty for fewer than two.
    """
    members = np.flatnonzero(np.isfinite(correlation.diagonal()))
    if len(members) < 2:
        return members, np.empty((0, 4))
    distance = 1.0 - np.nan_to_num(correlation[np.ix_(members, members)], nan=0.0)
    np.fill_diagonal(distance, 0.0)
    return members, linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
