"""The optimizer of a training."""

from __future__ import annotations

import torch
from torch import nn

from workers.training.settings import TrainSettings


def make_optimizer(network: nn.Module, objective: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over the network's trainable parameters and the objective's own; only the network's weights of two or more
    dimensions decay.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    without = [p for p in parameters if p.dim() <= 1] + list(objective.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": without, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        fused=True,
    )
