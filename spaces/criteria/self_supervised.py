"""First-order change, on removal, of how well each image is told from all others: no labels are used.

A criterion of ours in the spirit of Caron et al., "Pruning Convolutional Neural Networks with Self-Supervision", 2020
(arXiv 2001.03554): gate slopes (see ``taylor.py``) of the loss of instance discrimination, Wu et al., CVPR 2018 (arXiv
1805.01978), equation 2: every scoring image is a class of its own, its weights are its normalised last features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``mean_n |d loss_n / d gate_i|``, float64 ``[group.size]``: see :class:`Evidence`."""
    return evidence.self_supervised[group.name]
