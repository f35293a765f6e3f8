"""Scale of the batch norm. Liu et al., "Network Slimming", ICCV 2017 (arXiv 1708.06519)."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.criteria.members import level, per_channel
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``|γ_i|``, float64 ``[group.size]``; several norms are levelled and averaged, norms without γ are passed over.

    A group without any γ scores one everywhere: a constant tells a blend nothing.
    """
    scales = []
    for m in group.norms():
        gamma = evidence.network.get_submodule(m.layer).weight
        if isinstance(gamma, Tensor):
            values = gamma.detach().to("cpu", torch.float64).abs()[torch.from_numpy(m.positions)]
            scales.append(per_channel(values, m, group.size))
    return level(scales) if scales else torch.ones(group.size, dtype=torch.float64)
