"""Votes of the classes for a channel. Zhang et al., "Carrying out CNN Channel Pruning in a White Box", 2021
(arXiv 2104.11883).

Gates learned per class, then a vote. The authors train masks and weights together from scratch for 30 epochs; here the
weights are the trained network's and stay, and the masks see the scoring images a few times: see ``masks.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group

ROUNDING = 1e-6
"""Of the greatest vote: masks of float32 that differ by less have not been told anything."""


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``|Σ_k M_ki| / 2`` over classes k, less the group's least, float64 ``[group.size]``: see :class:`Evidence`.

    Masks that are learned in a few passes stay close to the ones they begin as: what tells channels apart is the rest.
    """
    votes = evidence.class_masks[group.name].sum(dim=0).abs() / 2
    spread = votes - votes.min()
    return spread if spread.max() > ROUNDING * votes.max() else torch.zeros_like(votes)
