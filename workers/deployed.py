"""The network as it is shipped: normalisation inside, so that a caller needs to know pixels only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Deployed(nn.Module):
    """``network`` behind its normalisation, in eval mode.

    Input: float32 ``[N, C, H, W]`` in [0, 1]. Output: logits ``[N, classes]``.

    Args:
        network: takes normalised images; it is held, not copied.
        mean: per channel, on the [0, 1] scale.
        std: per channel, on the [0, 1] scale, greater than 0.

    Raises:
        ValueError: ``mean`` and ``std`` differ in length, or a deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or not min(std) > 0:
            raise ValueError(
                f"mean {list(mean)} and std {list(std)} must have one entry per channel, each std greater than 0"
            )
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values), dtype=torch.float32).reshape(1, -1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
