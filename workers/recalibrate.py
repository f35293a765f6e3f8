"""Batch-norm recalibration: statistics of the compressed network instead of those of its parent.

Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", ECCV 2020, §3.3.
"""

from __future__ import annotations

import torch
from torch import nn

from workers.batches import Tensors
from workers.planes import fast_forward

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def recalibrate(network: nn.Module, data: Tensors, batch_size: int) -> None:
    """Reset all batch-norm statistics and take their cumulative average over ``data``; weights stay as they are.

    Only batch norms run in training mode (dropout stays off); the network is left in eval mode with its momenta back.
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, NORMS) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average: every batch counts the same
        norm.train()
    try:
        with fast_forward(network, data):
            for images, _ in data.batches(batch_size):
                if len(images) > 1:
                    network(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
