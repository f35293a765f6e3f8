"""Gives up a training that learns nothing: a rule on its own course alone, so that it decides the same everywhere.

Rules that hold a curve against those of other trainings (Domhan et al., "Speeding up Automatic Hyperparameter
Optimization of Deep Neural Networks by Extrapolation of Learning Curves", IJCAI 2015) save more, and would make a
result depend on what else was trained before.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from workers.training.watch import Diverged

DEVIATIONS = 3.0
"""How far above guessing's expectation a number of hits must be to count as something learnt."""


class Hopeless(Diverged):
    """The training has learnt nothing so far; the message says so in one line."""


class Hope(nn.Module):
    """Hits of the epoch under way; a buffer, checkpointed along, so that a resumed training is judged alike.

    Args:
        labels: int64 ``[N]``, of all training images: guessing names the commonest class.
        epochs: of the whole training.
        after: share of the epochs after which it is judged, at the end of each.
    """

    hits: Tensor

    def __init__(self, labels: Tensor, epochs: int, after: float) -> None:
        super().__init__()
        self._epochs = epochs
        self._after = after
        share = float(labels.bincount().max()) / len(labels)
        self._share = share
        self._needed = len(labels) * share + DEVIATIONS * math.sqrt(len(labels) * share * (1 - share))
        self._images = len(labels)
        self.register_buffer("hits", torch.zeros((), dtype=torch.int64, device=labels.device))

    def note(self, logits: Tensor, labels: Tensor) -> None:
        """The logits of a step, ``[B, K]``, with their labels."""
        self.hits += (logits.detach().argmax(1) == labels).sum()

    def judge(self, epochs_done: int) -> None:
        """Called at the end of each epoch.

        Raises:
            Hopeless: so many epochs are done, and in the last one the network was right no more often than guessing is
                by chance.
        """
        hits = int(self.hits)
        self.hits.zero_()
        if self._epochs * self._after <= epochs_done < self._epochs and hits < self._needed:
            raise Hopeless(
                f"no better than guessing in epoch {epochs_done} of {self._epochs}: {hits / self._images:.1%} of the "
                f"training images right, the commonest class is {self._share:.1%}"
            )
