"""Blending criteria: ranks per group, weighted, and the channels that the blend keeps.

After He et al., "Blending Pruning Criteria for Convolutional Neural Networks", ICANN 2021 (arXiv 2107.05033):
ranks make criteria of different scales comparable; weights are searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def ranks(scores: np.ndarray) -> np.ndarray:
    """Mid-ranks scaled to [0, 1]; ties share the average rank, a constant score gives 0.5 everywhere.

    Args:
        scores: float ``[C]``, higher is more important; must be finite.
    """
    if len(scores) < 2:
        return np.full(len(scores), 0.5)
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(middle[place] / (len(scores) - 1))


def keep_channels(table: np.ndarray, weights: Sequence[float], width: int) -> np.ndarray:
    """The ``width`` channels with the greatest blended rank, ascending.

    Args:
        table: ranks, float ``[criteria, C]``, rows as :func:`ranks` gives them.
        weights: one per criterion.
        width: how many stay, in ``1 … C``. Ties go to the lower channel index; a blend that tells no channel from
            another (all its criteria are left out of the group) gives way to the mean rank of all criteria.
    """
    blended = np.round(np.asarray(weights) @ table, 12)
    if len(blended) and np.ptp(blended) == 0:
        blended = np.round(table.mean(axis=0), 12)
    order = np.argsort(-blended, kind="stable")
    return np.sort(order[:width])


def select(
    tables: Mapping[str, np.ndarray], weights: Mapping[str, Sequence[float]], widths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Kept channels of every group in ``widths``, from its rank table and its cluster's weights."""
    return {name: keep_channels(tables[name], weights[name], width) for name, width in widths.items()}
