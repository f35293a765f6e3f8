"""Calibration factors: the genes of a blend in which each cluster of alike criteria has one voice.

Stage two of He et al., "Blending Pruning Criteria for Convolutional Neural Networks", ICANN 2021 (arXiv 2107.05033):
per cluster one criterion and the factor by which its ranks count. A blend stays one weight per criterion, zero for all
that are not chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spaces.condense import SILENT

STEP = 0.3
"""Standard deviation of a factor's mutation, where factors of a blend sum to 1."""

EXCHANGE = 0.5
"""Probability that a mutation lets another criterion speak for one of the clusters."""


def draw(kinds: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Any criterion of each cluster, factors uniform on the simplex: float ``[J]``, sum 1 (0 where all are silent).

    Args:
        kinds: per criterion its cluster, as :func:`spaces.condense.cluster_criteria` gives them.
    """
    weights = np.zeros(len(kinds))
    members = _members(kinds)
    for group, factor in zip(members, rng.dirichlet(np.ones(len(members))) if members else (), strict=True):
        weights[group[rng.integers(len(group))]] = factor
    return weights


def step(kinds: Sequence[int], weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A changed copy of ``weights``, float ``[J]`` ≥ 0: factors take a step, and one cluster may change its voice."""
    changed = strongest(kinds, weights)
    members = _members(kinds)
    if not members:
        return changed
    # A cluster that fell silent may be heard again: the step is on its first criterion then.
    voices = np.array([group[int(np.argmax(changed[group]))] for group in members])
    factors = np.abs(changed[voices] + rng.normal(0.0, STEP, len(members)))
    if rng.random() < EXCHANGE:
        place = int(rng.integers(len(members)))
        voices[place] = members[place][rng.integers(len(members[place]))]
    changed[:] = 0.0
    changed[voices] = factors
    return changed


def strongest(kinds: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """A copy of ``weights``, float ``[J]``, in which the greatest of each cluster remains, of equals the first.

    Where nothing remains, all clusters count alike.
    """
    kept = np.zeros(len(kinds))
    members = _members(kinds)
    for group in members:
        voice = group[int(np.argmax(weights[group]))]
        kept[voice] = weights[voice]
    if not kept.any():
        kept[[group[0] for group in members]] = 1.0
    return kept


def _members(kinds: Sequence[int]) -> list[np.ndarray]:
    labels = np.asarray(kinds)
    return [np.flatnonzero(labels == kind) for kind in range(labels.max(initial=SILENT) + 1)]
