"""Gradient norm: how fast training would set off.

Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021 (arXiv 2101.08134), §3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.proxies.gradients import log_scale, loss_gradients


def score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """``log Σ_layers ‖∂L/∂w‖₂`` over convolutions and linear layers.

    A logarithm, since a trained network's gradients are orders of magnitude below those of one that was just pruned.
    """
    norms = [gradient.norm() for _, gradient in loss_gradients(network, images, labels)]
    return log_scale(float(torch.stack(norms).sum(dtype=torch.float64)))
