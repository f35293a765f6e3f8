"""1×1 convolutions as matrix products while a network is trained on a CPU.

On images in channels-last format the two are the same numbers in the same place, and a convolution of few channels
takes oneDNN longer than the product with its gradients takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.batches import Tensors


@contextmanager
def pointwise_products(network: nn.Module, images: Tensors) -> Iterator[None]:
    """While the block lasts, the plain 1×1 convolutions of ``network`` are products; elsewhere than on a CPU, nothing.

    Not chosen by timing, so that the same training gives the same bits in every process.
    """
    suits = images.labels.device.type == "cpu" and images.memory_format == torch.channels_last
    pointwise = [m for m in network.modules() if suits and _is_pointwise(m)]
    for module in pointwise:
        module.__class__ = _Product
    try:
        yield
    finally:
        for module in pointwise:
            module.__class__ = nn.Conv2d


class _Product(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 4 or not input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input)
        pixels = input.permute(0, 2, 3, 1)
        return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _is_pointwise(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d  # a class of its own may compute something else
        and module.kernel_size == module.stride == (1, 1)
        and module.padding in ((0, 0), "valid", "same")
        and module.groups == 1
    )
