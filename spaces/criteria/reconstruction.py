"""First-order change, on removal, of how well each image can be painted from the last features: no labels are used.

A criterion of ours: gate slopes (see ``taylor.py``) of a linear auto-encoder's loss whose encoder is the network itself
and whose decoder is the ridge regression of the scoring images, averaged down, on the network's last features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``mean_n |d loss_n / d gate_i|``, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.reconstruction[group.name]
