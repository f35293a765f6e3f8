"""What no compensation can make up for: the least error in the consumers' outputs when the channel is gone.

After Xie et al., "Pruning with Compensation", 2021 (arXiv 2108.13728): the consumers' weights for the other channels
are changed so as to make up for the missing one, which is a closed form of the covariance of their inputs. Each channel
is removed alone here (the paper orders them greedily, so of two equal channels it keeps one; here both score zero), and
a kernel's taps share one mixture of channels, as if maps were white in space. For 1×1 convolutions and linear layers
the score is exactly the expected squared error of the best compensation, weights and bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.channels import sum_on_channels
from spaces.criteria.evidence import Evidence
from spaces.criteria.members import level
from spaces.groups import Group


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``‖W_i‖² Var(x_i | other inputs)`` at the consumers, float64 ``[group.size]``; several are levelled and averaged.

    For the conditional variance see :class:`Evidence`.
    """
    scores = []
    for m in group.consumers():
        if m.layer in evidence.conditional_variance:
            weight = evidence.network.get_submodule(m.layer).weight
            assert isinstance(weight, Tensor)
            squares = weight.detach().to("cpu", torch.float64).square()
            squares = squares.sum(dim=[d for d in range(squares.dim()) if d != 1])
            variance = evidence.conditional_variance[m.layer].repeat_interleave(evidence.blocks[m.layer])
            scores.append(sum_on_channels(squares * variance, group, m))
    return level(scores)
