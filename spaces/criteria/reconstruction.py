"""First-order change, on removal, of how well the images can be painted from the last features: no labels are used.

A criterion of ours in the spirit of Caron et al., "Pruning Convolutional Neural Networks with Self-Supervision", 2020
(arXiv 2001.03554), which prunes magnitudes of networks trained without labels; here the gate slopes of Molchanov et
al. (see ``taylor.py``) are those of a reconstruction loss. The decoder is a ridge regression from all scoring images'
features to the images averaged to 8×8 pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``mean_n |d error_n / d gate_i|``, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.reconstruction[group.name]
