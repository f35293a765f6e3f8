"""What a convolution reads beyond the edge of its input."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def padded(module: nn.Conv2d, x: Tensor) -> Tensor:
    """``x`` with the padding of ``module``, whatever its mode, explicit: ``[B, C, H + …, W + …]``."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
