"""Second-order change of the loss on removal, by weights: optimal brain damage with the empirical Fisher matrix.

LeCun et al., "Optimal Brain Damage", NIPS 1990, equation 4, summed over a channel's filter; the Hessian's diagonal is
that of the empirical Fisher matrix, from every image's own gradient. Squaring a batch's gradient, or keeping the last
image's only (as Torch-Pruning's class does), is something else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.channels import sum_on_channels
from spaces.criteria.evidence import Evidence
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``½ Σ_w w² mean_n (∂loss_n/∂w)²`` over channel i's filters, biases left out, float64 ``[group.size]``.

    Several producers are added: all are changes of one loss.
    """
    total = torch.zeros(group.size, dtype=torch.float64)
    for m in group.producers():
        if m.layer in evidence.weight_fisher:
            weight = evidence.network.get_submodule(m.layer).weight
            assert isinstance(weight, Tensor)
            squares = weight.detach().to("cpu", torch.float64).square() * evidence.weight_fisher[m.layer]
            total += sum_on_channels(squares.flatten(1).sum(dim=1), group, m)
    return total / 2
