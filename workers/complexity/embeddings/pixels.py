"""The images themselves."""

from __future__ import annotations

from torch import Tensor

from workers.complexity.embeddings.standardise import standardise


def pixels(images: Tensor, seed: int) -> Tensor:
    """Pixels of uint8 ``[N, C, H, W]``, standardised: float32 ``[N, C·H·W]``. Nothing is drawn from ``seed``."""
    return standardise(images.flatten(1))
