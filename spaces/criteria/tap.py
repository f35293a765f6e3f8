"""Hooks on the layers that read a group's channels: what flows in, and a gate in front of every input channel.

The gate is a factor of one. It stands on the consumer's own branch, so its derivative is free of what other
readers of the same tensor (the next branch of a module, the skip connection) do with it, and a gate of zero is
exactly the channel's removal there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Tap:
    """Watches one convolution or linear layer. One gate per image and input channel serves all calls in a batch.

    Attributes:
        count: values seen per channel so far (images × positions × calls).
        gate: the running batch's gates, ``[B, inputs, 1, 1]`` or ``[B, 1…, inputs]``; none before the first call.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.axis = 1 if isinstance(module, nn.Conv2d) else -1
        self.count = 0
        self.gate: Tensor | None = None
        self._batch = 0
        self._gated = False
        self._total: Tensor | None = None

    def begin(self, batch: int, gated: bool) -> None:
        """Get ready for the next ``batch`` images, with gates if ``gated``."""
        self._batch, self._gated, self.gate = batch, gated, None

    @property
    def mean(self) -> Tensor:
        """Mean ``|a|`` of each input channel over everything seen, float64 ``[inputs]``."""
        if self._total is None:
            raise RuntimeError(f"layer {self.name!r} has not been called yet")
        return self._total / self.count

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = args
        self._measure(x.detach())
        return (x * self._gate_for(x), *rest) if self._gated else args

    def _measure(self, x: Tensor) -> None:
        axis = self.axis % x.dim()
        count = x.numel() // x.shape[axis]
        mean = x.abs().mean(dim=[d for d in range(x.dim()) if d != axis]).to("cpu", torch.float64)
        self._total = mean * count + (0 if self._total is None else self._total)
        self.count += count

    def _gate_for(self, x: Tensor) -> Tensor:
        if x.shape[0] != self._batch:
            raise ValueError(
                f"layer {self.name!r} reads {x.shape[0]} rows for {self._batch} images, so its inputs cannot be told "
                f"apart by image; keep its channels (network.keep) or leave out criteria that need gradients"
            )
        if self.gate is None:
            shape = [1] * x.dim()
            shape[0], shape[self.axis] = self._batch, x.shape[self.axis]
            self.gate = torch.ones(shape, dtype=x.dtype, device=x.device, requires_grad=True)
        return self.gate


@contextmanager
def tapped(network: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tap]]:
    """``network`` in eval mode with a :class:`Tap` on each of ``layers``; every module's mode is restored, taps go."""
    modes = [(module, module.training) for module in network.modules()]
    taps = {name: Tap(name, network.get_submodule(name)) for name in sorted(layers)}
    handles = [network.get_submodule(name).register_forward_pre_hook(tap) for name, tap in taps.items()]
    network.eval()
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
