"""Mean rank of the feature map. Lin et al., "HRank", CVPR 2020 (arXiv 2002.10179), equation 4.

As :func:`torch.linalg.matrix_rank` counts, at its own tolerance; on maps of a few pixels nearly all channels tie. By
far the most costly of the criteria: a singular value decomposition per image and channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Mean over images of the rank of channel i's ``[H, W]`` map, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.map_rank[group.name]
