"""Mean gate of a squeeze-and-excitation block. Chang et al., "Uniform Channel Pruning", 2020 (arXiv 2010.01251).

The paper puts modified blocks behind every convolution, trains the whole network, and scores a channel by its mean
gate. Here the network stays as it is, and each group's block (mean map → C/16 units, ReLU → C gates, no biases) is
trained on the second-order expansion of the loss that the shared pass has measured, so that no further pass is made. A
gate is twice the sigmoid, one at the start. The first layer starts with the principal directions of the mean maps, the
second at zero: nothing is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group

REDUCTION = 16
STEPS = 10
RATE = 1.0


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """Mean over images of the trained block's sigmoid, in (0, 1), float64 ``[group.size]``."""
    pooled, slopes = evidence.pooled[group.name], evidence.slopes[group.name]
    return train(pooled, slopes, max(1, group.size // REDUCTION), STEPS).mean(dim=0)


def train(pooled: Tensor, slopes: Tensor, hidden: int, steps: int) -> Tensor:
    """The sigmoids of a block of ``hidden`` units after so many steps of gradient descent, ``[N, C]``.

    To second order, gates ``s`` change the loss of image n by ``u + u²/2``, ``u = Σ_c (2 s_c − 1) slope_nc``; the mean
    over images is minimised. Slopes are scaled to a mean square norm of one.
    Rows of ``pooled`` and ``slopes`` (``[N, C]``) are images.
    """
    inputs = pooled / pooled.square().mean().sqrt().clamp(min=torch.finfo(pooled.dtype).tiny)
    slopes = slopes / slopes.square().sum(dim=1).mean().sqrt().clamp(min=torch.finfo(slopes.dtype).tiny)
    first, second = _principal(inputs, hidden), torch.zeros(slopes.shape[1], hidden, dtype=slopes.dtype)
    for _ in range(steps):
        units = (inputs @ first.T).clamp(min=0)
        gates = (units @ second.T).sigmoid()
        change = ((2 * gates - 1) * slopes).sum(dim=1, keepdim=True)
        back = (1 + change) * slopes * (2 * gates * (1 - gates)) / len(inputs)
        lower = (back @ second) * (units > 0)
        first, second = first - RATE * lower.T @ inputs, second - RATE * back.T @ units
    return ((inputs @ first.T).clamp(min=0) @ second.T).sigmoid()


def _principal(inputs: Tensor, count: int) -> Tensor:
    """The leading principal directions (uncentred), ``[count, C]``, each pointing where its projections are greater."""
    _, _, directions = torch.linalg.svd(inputs, full_matrices=False)
    directions = directions[:count]
    skew = (inputs @ directions.T).pow(3).sum(dim=0)
    directions = directions * torch.where(skew < 0, -1.0, 1.0)[:, None]
    return torch.cat([directions, directions.new_zeros(count - len(directions), directions.shape[1])])
