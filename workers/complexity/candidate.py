"""How separable the classes are in a candidate's own features, before any training."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.complexity.csg import csg_of_samples
from workers.complexity.embeddings.standardise import standardise

NEIGHBOURS = 5


def feature_csg(features: Tensor, labels: Tensor) -> float | None:
    """CSG / (K − 1) of what a network's classifier reads: 0 where the classes lie apart, 1 where they cannot be told.

    ``None`` where the images are of one class, or too few to have neighbours.

    Every point is a sample, and without the volume, which has no meaning in as many dimensions as a classifier reads
    (:func:`workers.complexity.csg.csg`). Ours, not the paper's.

    Args:
        features: float ``[N, D]``; standardised per axis here.
        labels: int64 ``[N]``.
    """
    if len(labels) <= NEIGHBOURS or bool((labels == labels[0]).all()):
        return None
    everything = torch.arange(len(features), device=features.device)
    return csg_of_samples(standardise(features), labels, everything, NEIGHBOURS, volume=False).relative
