"""Deep discriminant utility: the last features' LDA utility, traced back to each channel.

After Tian, Arbel and Clark, "Task dependent deep LDA pruning of neural networks", CVIU 203 (2021), and
"Grow-Push-Prune" (arXiv 2009.13716). Features start with ``v_j = σ_b² / σ_w²``; at a channel arrives the rectified
signal (see ``trace.py``). The papers score the signal alone; here it is multiplied by the activation that carries it,
so that a dead channel scores zero and scaling a channel against its readers changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Greatest utility of any position, of the mean over images, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.utility[group.name]
