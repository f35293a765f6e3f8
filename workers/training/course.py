"""All that changes in a training, and how a step and its place in the epochs are told apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from workers.losses import Objective
from workers.training.average import Average
from workers.training.hope import Hope
from workers.training.watch import Watch


@dataclass(frozen=True)
class Course:
    """A training under way."""

    network: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    watch: Watch
    average: Average | None
    hope: Hope | None

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What has a state besides the optimizer, by the name under which it is stored."""
        named = {
            "network": self.network,
            "objective": self.objective,
            "watch": self.watch,
            "average": self.average,
            "hope": self.hope,
        }
        return {name: module for name, module in named.items() if module is not None}


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches in a pass; a last one of a single image is left out, for it gives batch norm nothing to average over."""
    return images // batch_size + (images % batch_size > 1)
