"""The optimizer of a training."""

from __future__ import annotations

import torch
from torch import nn

from workers.losses import Objective
from workers.training.settings import TrainSettings


def make_optimizer(network: nn.Module, objective: Objective, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over the network's trainable parameters and the objective's own; only the network's weights of two or more
    dimensions decay, but for those that the objective exempts.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    exempt = {id(p) for p in objective.undecayed}
    decaying = [p for p in parameters if p.dim() > 1 and id(p) not in exempt]
    without = [p for p in parameters if p.dim() <= 1 or id(p) in exempt] + list(objective.parameters())
    return torch.optim.AdamW(
        [
            {"params": decaying, "weight_decay": settings.weight_decay},
            {"params": without, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        fused=True,
    )
