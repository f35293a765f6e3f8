"""How much the separability of the classes falls without the channel. Ours.

The cumulative spectral gradient (Branchaud-Charron et al., CVPR 2019) says how far classes overlap in a feature space.
Leaving out one channel at a time would need a neighbour search per channel; in its place stands Fisher's
``J = tr(Σ_w⁻¹ Σ_b)`` of the averaged maps that a layer reads, streamed as sums per class, whose fall on leaving out a
channel is a closed form: what other channels tell as well does not count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``(J − J without i) / J``, averaged over consumers, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.class_separation[group.name]
