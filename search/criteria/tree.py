"""Criteria as a tree: those that rank channels alike hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list

from spaces.condense import join_alike

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
        correlation: see :func:`spaces.condense.join_alike`.
    """
    members, joins = join_alike(correlation)
    leaves = members[leaves_list(joins)] if len(members) > 1 else members
    others = [i for i in range(len(correlation)) if i not in members]
    return Tree(tuple(members.tolist()), joins, (*leaves.tolist(), *others))
