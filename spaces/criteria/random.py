"""Uniform noise: the control that every other criterion must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Independent draws from [0, 1) of ``generator``, float64 ``[group.size]``."""
    return torch.rand(group.size, generator=generator, dtype=torch.float64, device=generator.device)
