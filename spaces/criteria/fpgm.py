"""Distance from the other filters: what lies at their geometric median can be replaced by the rest.

He et al., "Filter Pruning via Geometric Median", CVPR 2019 (arXiv 1811.00250). Torch-Pruning's class of this name
measures distances between *powers* of the weights and ranks otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.criteria.members import score_filters
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``Σ_j ‖w_i − w_j‖₂`` over the group's filters of a producer, float64 ``[group.size]``; producers are levelled."""
    return score_filters(group, evidence.network, _distances)


def _distances(rows: Tensor) -> Tensor:
    # cdist multiplies matrices for more than 25 filters: a shared offset would cost it digits, hence the centring.
    centred = rows - rows.mean(dim=0)
    return torch.cdist(centred, centred).sum(dim=1)
