"""SNIP: how much the loss hangs on the weights.

Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR 2019 (arXiv 1810.02340), eq. 5,
summed over the network as in Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021
(arXiv 2101.08134).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.proxies.gradients import log_scale, loss_gradients


def score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """``log Σ |w · ∂L/∂w|`` over the weights of convolutions and linear layers.

    A logarithm, since a trained network's gradients are orders of magnitude below those of one that was just pruned.
    """
    pairs = loss_gradients(network, images, labels)
    totals = torch.stack([(weight * gradient).abs().sum(dtype=torch.float64) for weight, gradient in pairs])
    return log_scale(float(totals.sum()))
