"""Share of activations that are not zero: one less the "average percentage of zeros".

Hu et al., "Network Trimming", 2016 (arXiv 1607.03250), equation 1. Behind an activation that is never exactly zero
all channels score one: a constant tells a blend nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``1 − APoZ``, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.active_fraction[group.name]
