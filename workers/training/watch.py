"""Notices a training that comes to nothing, soon and without a wait for the device in every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOOK_EVERY = 25
"""Steps between two looks at the loss: each waits for the device."""

EXPLODED = 100.0
"""A mean loss so many times the first step's, or guessing's where that is more, does not come back."""


class Diverged(RuntimeError):
    """The training comes to nothing; the message says why in one line."""


class Watch(nn.Module):
    """Losses since the last look; its buffers are checkpointed along, so that a resumed training is judged alike.

    Args:
        classes: K; guessing has a cross-entropy of ln K.
        steps: of the whole training.
    """

    total: Tensor
    first: Tensor

    def __init__(self, classes: int, steps: int, device: torch.device) -> None:
        super().__init__()
        self._guessing = math.log(max(classes, 2))
        self._steps = steps
        self.register_buffer("total", torch.zeros((), device=device))
        self.register_buffer("first", torch.zeros((), device=device))

    def note(self, loss: Tensor, step: int) -> None:
        """The loss of step ``step``, counted from 0.

        Raises:
            Diverged: the mean loss since the last look is not finite, or above :data:`EXPLODED` times both that of the
                first step and ln K.
        """
        self.total += loss.detach()
        if step == 0:
            self.first.copy_(self.total)
        if (step + 1) % LOOK_EVERY == 0 or step + 1 == self._steps:
            self._look(step)

    def _look(self, step: int) -> None:
        mean = float(self.total) / (step % LOOK_EVERY + 1)
        self.total.zero_()
        if not math.isfinite(mean):
            raise Diverged(f"the loss is not finite by step {step + 1} of {self._steps}")
        most = EXPLODED * max(float(self.first), self._guessing)
        if mean > most:
            raise Diverged(
                f"the loss exploded by step {step + 1} of {self._steps}: {mean:.3g}, above {EXPLODED:g} times "
                f"{most / EXPLODED:.3g}"
            )
