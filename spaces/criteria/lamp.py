"""Layer-adaptive magnitude. Lee et al., "Layer-adaptive sparsity for the Magnitude-based Pruning", ICLR 2021
(arXiv 2010.07611), equation 5, for channels: their squared norms in place of squared weights.

Within a group it ranks as the norms do; what it changes is the scale across groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.criteria.members import score_filters
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``s_i / Σ s_j`` over all j with ``s_j ≥ s_i``, ``s = ‖w‖²``: in [0, 1], float64 ``[group.size]``.

    Several producers' ``s`` are levelled and averaged beforehand. Channels of equal norm score alike.
    """
    squares = score_filters(group, evidence.network, lambda rows: rows.square().sum(dim=1))
    ordered, order = squares.sort(descending=True)
    _, place, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    at_least = ordered.cumsum(dim=0)[counts.cumsum(dim=0) - 1][place]
    scores = torch.where(at_least > 0, ordered / at_least, 0.0)
    return torch.empty_like(squares).index_copy_(0, order, scores)
