"""torchvision's classification CNNs by name, their stems adapted to small images.

torchvision is imported where it is needed: it brings the whole of torch's compiler with it, seconds in every worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import nn

SMALL = 64
"""Below this many pixels on the shorter side a stem keeps its resolution: four-fold down-sampling leaves nothing."""

_TRANSFORMERS = ("vit_", "swin", "maxvit")


@lru_cache
def torchvision_names() -> tuple[str, ...]:
    """Names of torchvision's classification CNNs."""
    from torchvision import models

    names = models.list_models(module=models)
    return tuple(n for n in names if not n.startswith(_TRANSFORMERS) and "quantized" not in n)


def build_torchvision(
    name: str, shape: tuple[int, int, int], classes: int, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """An untrained torchvision CNN for images of ``shape`` and ``classes`` outputs.

    The first convolution takes ``shape[0]`` channels. Where the images' shorter side is under 64 pixels its stride
    becomes 1 (a 7×7 kernel becomes 3×3) and a max pool right behind it goes, as is customary for CIFAR.
    Auxiliary classifiers are left out.

    Raises:
        ValueError: torchvision refuses the arguments.
    """
    from torchvision import models

    options: dict[str, Any] = {"weights": None, "num_classes": classes, **(arguments or {})}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False, **options}
    try:
        network: nn.Module = models.get_model(name, **options)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"network.arguments: torchvision's {name} refuses {dict(arguments or {})!r}: {error}"
        ) from error
    if getattr(network, "transform_input", False):
        network.transform_input = False  # type: ignore[assignment]
    _adapt_stem(network, shape)
    return network


def _adapt_stem(network: nn.Module, shape: tuple[int, int, int]) -> None:
    small = min(shape[1:]) < SMALL
    convolutions = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    name, first = convolutions[0]
    kernel, stride, padding = first.kernel_size, first.stride, first.padding
    if small:
        stride = (1, 1)
        if kernel[0] > 3:
            kernel, padding = (3, 3), (1, 1)
    if (kernel, stride, shape[0]) != (first.kernel_size, first.stride, first.in_channels):
        stem = nn.Conv2d(shape[0], first.out_channels, kernel, stride, padding, bias=first.bias is not None)  # type: ignore[arg-type]
        network.set_submodule(name, stem)
    if small:
        for pool in ("maxpool", "maxpool1", "features.pool0"):
            if pool in dict(network.named_modules()):
                network.set_submodule(pool, nn.Identity())
