"""Mean absolute activation. Molchanov et al., ICLR 2017 (arXiv 1611.06440), section 2.2 ("Activation")."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Mean ``|a_i|`` as the consumers see it, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.activation_mean[group.name]
