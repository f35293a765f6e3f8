"""Variance of the activation over images and positions: a constant channel can be folded into the next bias.

After Polyak and Wolf, "Channel-Level Acceleration of Deep Face Representations", IEEE Access 2015 ("inbound" pruning
by activation variance), for the channel as its consumers see it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``Var(a_i)``, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.activation_variance[group.name]
