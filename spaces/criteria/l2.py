"""L2 norm of the filter. He et al., "Soft Filter Pruning", IJCAI 2018 (arXiv 1808.06866)."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.criteria.members import score_filters
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``‖w_i‖₂`` of channel i's filter, float64 ``[group.size]``; several producers are levelled and averaged."""
    return score_filters(group, evidence.network, lambda rows: rows.norm(dim=1))
