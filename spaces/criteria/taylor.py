"""First-order change of the loss on removal, by activations and their gradients.

Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017
(arXiv 1611.06440), with the gate of "Importance Estimation for Neural Network Pruning", CVPR 2019 (arXiv 1906.10771).
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``mean_n |Σ a·g|`` over consumers and positions, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.taylor[group.name]
