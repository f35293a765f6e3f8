"""Zen: how expressive is the network's structure, its weights aside?

Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition", ICCV 2021 (arXiv 2102.01063), alg. 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from workers.proxies.forward import run, weight_names
from workers.proxies.gradients import log_scale

REPEATS = 2
"""Draws of weights and images. The paper's 32 would cost more than all other proxies together."""

STEP = 0.01
"""Size of the perturbation, as in the paper."""


@torch.inference_mode(False)
@torch.no_grad()
def score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Mean over draws of ``log mean_n ‖f(x_n) − f(x_n + 0.01 ε_n)‖₁ + ½ Σ_BN log mean_c σ²_c``.

    Weights of convolutions and linear layers, x and ε are standard normal, biases 0, batch norms' scales 1: of the
    network only the structure counts, of ``images`` only the shape. f is what the network's last linear layer reads,
    where its output is the network's, else the network's output (the paper reads the map ahead of global pooling,
    which nothing marks in a network of any kind). σ² is the variance that a batch norm finds over x and x + 0.01 ε
    together and divides by: the sum puts back the scale that f has lost. Skip connections stay.
    """
    own = dict(network.named_parameters())
    weights = {name: own[name] for name in weight_names(network)}
    biases = {bias: own[bias] for name in weights if (bias := f"{name.removesuffix('weight')}bias") in own}
    zeros = {name: torch.zeros_like(bias) for name, bias in biases.items()}
    total = 0.0
    for _ in range(REPEATS):
        drawn = {name: _normal_like(weight, generator) for name, weight in weights.items()}
        total += _complexity(network, {**drawn, **zeros}, images, generator)
    return total / REPEATS


def _complexity(network: nn.Module, tensors: dict[str, Tensor], images: Tensor, generator: torch.Generator) -> float:
    x, noise = (_normal_like(images, generator) for _ in range(2))
    both = torch.cat([x, x + STEP * noise])
    inverses: list[Tensor] = []  # 1 / √(σ² + eps) of every batch norm

    def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        out, _, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, eps)
        inverses.append(inverse)
        return out

    with _LastLinear() as last:
        output = run(network, both, norm=norm, tensors=tensors)
    features = last.input if last.input is not None and last.output is output else output
    here, there = features.double().flatten(1).chunk(2)
    scales = torch.stack([inverse.pow(-2).mean() for inverse in inverses]).log() / 2 if inverses else torch.zeros(1)
    return log_scale(float((here - there).abs().sum(1).mean())) + float(scales.sum(dtype=torch.float64))


def _normal_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers in the tensor's layout; drawn on the CPU, so that devices agree."""
    return torch.empty_like(tensor).copy_(torch.randn(tensor.shape, generator=generator))


class _LastLinear(TorchFunctionMode):
    """Remembers what the last linear layer read and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.input: Tensor | None = None
        self.output: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is F.linear:
            self.input, self.output = args[0] if args else kwargs["input"], out
        return out
