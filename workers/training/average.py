"""An exponential moving average of the weights, which takes the place of the last weights in the end.

It forgets faster in the beginning, with decay min(decay, (1 + t) / (10 + t)) at step t, so that even a training of few
steps averages over its last tenth or so and not over its start.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.batches import Tensors
from workers.recalibrate import recalibrate

RECALIBRATION_IMAGES = 2048
"""Most images that batch-norm statistics of the averaged weights are taken from; thousands make no difference."""


class Average(nn.Module):
    """Averages of the parameters of ``network``, on its device; buffers, so that they are checkpointed along.

    Args:
        decay: in (0, 1), approached as the steps go on.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self._source = [p for p in network.parameters() if p.requires_grad]
        for i, parameter in enumerate(self._source):
            self.register_buffer(f"weight{i}", parameter.detach().clone(memory_format=torch.preserve_format))

    def update(self, step: int) -> None:
        """Take in the parameters after step ``step``, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.buffers()), [p.detach() for p in self._source], 1 - decay)

    @torch.no_grad()
    def finish(self, network: nn.Module, data: Tensors, batch_size: int) -> None:
        """Put the averages into ``network``.

        Batch-norm statistics are measured anew on ``data``: those seen so far belong to other weights.
        """
        averaged: list[Tensor] = list(self.buffers())
        torch._foreach_copy_(list(self._source), averaged)
        recalibrate(network, data.first(RECALIBRATION_IMAGES), batch_size)
