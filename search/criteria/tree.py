"""Criteria as a tree: those that rank channels alike hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

ALIKE = 0.7
"""Criteria are of one block where the mean correlation between the parts that join is at least this."""


@dataclass(frozen=True)
class Tree:
    """Average linkage on ``1 − ρ``, turned so that neighbours are most alike.

    Attributes:
        members: rows of the criteria that are in it, ascending; the others were left out everywhere.
        joins: scipy's linkage matrix over ``members``, float64 ``[len(members) − 1, 4]``; empty for fewer than two.
        order: all rows: the leaves from one end to the other, then what is not in the tree.
    """

    members: tuple[int, ...]
    joins: np.ndarray
    order: tuple[int, ...]

    def blocks(self) -> list[tuple[int, ...]]:
        """Members, parted where the mean correlation falls below :data:`ALIKE`; in the tree's order."""
        if len(self.members) < 2:
            return [self.members] if self.members else []
        label = dict(zip(self.members, fcluster(self.joins, 1 - ALIKE, "distance").tolist(), strict=True))
        leaves = self.order[: len(self.members)]
        return [tuple(i for i in leaves if label[i] == part) for part in dict.fromkeys(label[i] for i in leaves)]


def grow_tree(correlation: np.ndarray) -> Tree:
    """The tree of criteria.

    Args:
        correlation: mean rank correlations, float ``[J, J]``, diagonal NaN for criteria that take no part. A pair that
            never takes part together counts as uncorrelated.
    """
    members = np.flatnonzero(np.isfinite(np.diag(correlation)))
    others = [i for i in range(len(correlation)) if i not in members]
    if len(members) < 2:
        return Tree(tuple(members.tolist()), np.empty((0, 4)), (*members.tolist(), *others))
    distance = 1 - np.nan_to_num(correlation[np.ix_(members, members)], nan=0.0)
    np.fill_diagonal(distance, 0.0)
    joins = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return Tree(tuple(members.tolist()), joins, (*members[leaves_list(joins)].tolist(), *others))
