"""How far criteria agree about the channels of a group, and which of them tell its channels apart at all.

Agreement as in Lai, Cai and Tan, "Many Faces of Feature Importance", EMNLP 2019 (arXiv 1910.08534), with channels for
words and a pruned set for the most important features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from spaces.blend import keep_channels

NOTICEABLE = 1e-3
"""Two channels are told apart where their scores differ by more than this share of the larger one."""
LEAST_TOLD_APART = 0.1
"""A criterion that tells apart a smaller share of all pairs of channels says nothing about the group."""


def spearman(ranks: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of every two criteria, ties by mid-ranks.

    Args:
        ranks: float ``[J, C]``, rows as :func:`spaces.blend.ranks` gives them.

    Returns:
        float64 ``[J, J]`` in [-1, 1], symmetric, diagonal exactly 1; the row and the column of a criterion whose ranks
        are constant are NaN, for such ranks correlate with nothing.
    """
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    lengths[_constant(ranks)] = np.nan
    unit = centred / lengths[:, None]
    found = np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(found, np.where(np.isnan(lengths), np.nan, 1.0))
    return np.asarray((found + found.T) / 2)


def jaccard(ranks: np.ndarray, width: int) -> np.ndarray:
    """How alike the pruned sets of every two criteria are, corrected for chance.

    ``(J − E) / (1 − E)`` with ``J`` the sets' intersection over their union and ``E`` its exact expectation for two
    independent random sets of that size (their intersection is hypergeometric): 1 for equal sets, 0 on average for
    random ones, less for sets that avoid each other.

    Args:
        ranks: float ``[J, C]``, rows as :func:`spaces.blend.ranks` gives them.
        width: how many channels stay, chosen as :func:`spaces.blend.keep_channels` does; in ``0 … C``.

    Returns:
        float64 ``[J, J]``, symmetric, diagonal 1; the row and the column of a criterion whose ranks are constant are
        NaN, for the channels' order chooses its set. All NaN where ``width`` is 0 or C, and every set is the same.
    """
    size = ranks.shape[1]
    pruned = np.ones(ranks.shape, dtype=np.int64)
    for row, table in zip(pruned, ranks[:, None], strict=True):
        row[keep_channels(table, [1.0], width)] = 0
    pruned_count = size - width
    if not 0 < pruned_count < size:
        return np.full((len(ranks), len(ranks)), np.nan)
    common = pruned @ pruned.T
    chance = expected_jaccard(size, pruned_count)
    found = np.asarray((common / (2 * pruned_count - common) - chance) / (1 - chance))
    silent = _constant(ranks)
    found[silent] = found[:, silent] = np.nan
    return found


@lru_cache(maxsize=1024)
def expected_jaccard(size: int, count: int) -> float:
    """Mean intersection over union of two independent random sets of ``count`` of ``size`` channels, in (0, 1].

    Args:
        size: at least 1.
        count: in ``1 … size``.
    """
    ways = math.comb(size, count)
    return sum(
        math.comb(count, common) * math.comb(size - count, count - common) / ways * common / (2 * count - common)
        for common in range(max(0, 2 * count - size), count + 1)
    )


def mean_agreement(tables: Iterable[np.ndarray]) -> np.ndarray:
    """Mean over groups, each counted once, of what :func:`spearman` or :func:`jaccard` gives for them.

    Args:
        tables: float ``[J, J]``, at least one.

    Returns:
        float64 ``[J, J]``: of every pair over the groups where both take part; NaN where there is none.
    """
    stack = np.array(list(tables))
    there = np.isfinite(stack)
    counts = there.sum(axis=0)
    return np.asarray(np.where(counts > 0, np.where(there, stack, 0).sum(axis=0) / np.maximum(counts, 1), np.nan))


def applicable(scores: np.ndarray) -> np.ndarray:
    """Whether each criterion tells the channels of this group apart.

    It does where at least :data:`LEAST_TOLD_APART` of all pairs of channels have scores that differ by more than
    :data:`NOTICEABLE` of the larger score's magnitude. Ranks hide this: they spread scores that differ in the last bit
    as widely as any. Pairs, not the range, decide: one channel beside itself neither hides the differences of the
    others nor lends them any. Relative differences make it independent of a criterion's scale, and an offset that
    dwarfs the differences (map ranks of 15.99 and 16) does not count as telling apart.

    Args:
        scores: float ``[J, C]``, raw and finite.

    Returns:
        bool ``[J]``; all False where ``C < 2``.
    """
    pairs = math.comb(scores.shape[1], 2)
    return np.array([_pairs_apart(row) >= max(LEAST_TOLD_APART * pairs, 1) for row in scores], dtype=bool)


def _pairs_apart(scores: np.ndarray) -> int:
    """Pairs that differ noticeably; in ascending order, those that do not follow a channel without a gap."""
    ascending = np.sort(scores)
    limits = np.where(ascending >= 0, ascending / (1 - NOTICEABLE), ascending * (1 - NOTICEABLE))
    close = np.searchsorted(ascending, limits, side="right") - np.arange(1, len(ascending) + 1)
    return math.comb(len(ascending), 2) - int(close.sum())


def _constant(ranks: np.ndarray) -> np.ndarray:
    return np.ptp(ranks, axis=1) == 0 if ranks.shape[1] else np.ones(len(ranks), dtype=bool)
