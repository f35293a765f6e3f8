"""Second-order change of the loss on removal, by the Fisher information of a gate.

Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018 (arXiv 1801.05787), equation 8.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``½ mean_n (d loss_n / d gate_i)²``, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.gate_fisher[group.name] / 2
