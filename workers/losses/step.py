"""What one step of a training shows to its loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """A batch after the forward pass.

    Attributes:
        logits: float32 ``[B, K]``.
        labels: int64 ``[B]``.
        soft_labels: the teacher's logits on the batch, float32 ``[B, K]``, or ``None``.
        features: what the classifier (the last linear layer) read, float32 ``[B, D]``; ``None`` where no term asks
            for it.
        progress: share of all steps of the training that are done, in [0, 1).
    """

    logits: Tensor
    labels: Tensor
    soft_labels: Tensor | None = None
    features: Tensor | None = None
    progress: float = 0.0
