"""L1 norm of the filter. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (arXiv 1608.08710)."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.criteria.members import score_filters
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``Σ|w_i|`` of channel i's filter, float64 ``[group.size]``; several producers are levelled and averaged."""
    return score_filters(group, evidence.network, lambda rows: rows.abs().sum(dim=1))
