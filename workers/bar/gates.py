"""The gates of a network's groups, as a loss that brings its own hooks.

One gate per channel of a group, whatever the group: channels that a residual sum ties together share one gate (the
paper's block with independent gates of branch and skip is not built here). A gate stands in front of every layer that
reads its channel, so that a gate of zero is exactly the channel's removal; in a network of rectifiers this is the same
as the paper's gate behind the batch norm that makes the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spaces.layout import Layout
from spaces.quantity import Quantity, make_quantity
from spaces.shedding import widest
from workers.bar.barrier import barrier, bounds
from workers.bar.hard_concrete import ALIVE, chance, sample
from workers.bar.settings import BarSettings
from workers.losses import Objective, Step
from workers.training.settings import TrainSettings


class GatedObjective(Objective):
    """The loss of a training plus ``strength · (expected quantity) · barrier``; while it watches, the network is gated.

    Args:
        budget: in units of the measure.
        first: locations of the gates when training starts, float ``[channels]``.
    """

    def __init__(
        self, training: TrainSettings, layout: Layout, budget: int, settings: BarSettings, first: Tensor
    ) -> None:
        super().__init__(training)
        self._layout, self._budget, self._bar = layout, budget, settings
        self._quantity: Quantity = make_quantity(layout, settings.measure)
        self._full_amount = self._quantity.count(layout.full())
        # Adam's steps do not depend on a parameter's scale: one that is scaled up afterwards learns faster.
        self.raw = nn.Parameter(first / settings.speed)
        self.core = core_widths(layout, self._quantity, budget, settings.core)
        sizes = torch.as_tensor(layout.sizes, device=first.device)
        self.register_buffer("_group", torch.repeat_interleave(torch.arange(len(sizes), device=first.device), sizes))

    @property
    def identity(self) -> dict[str, Any]:
        """See the base class."""
        return {"budget": self._budget, **asdict(self._bar)}

    @property
    def locations(self) -> Tensor:
        """φ of every channel, float ``[channels]``: the groups one after the other."""
        return self.raw * self._bar.speed

    def forward(self, step: Step) -> Tensor:
        """The loss of a step: a scalar, the data's; of the penalty it has the gradient alone."""
        penalty = self.penalty(step.progress)
        # The barrier's value jumps by orders of magnitude, which whoever watches the loss would take for a divergence.
        loss: Tensor = super().forward(step) + penalty - penalty.detach()
        return loss

    def penalty(self, progress: float) -> Tensor:
        """λ · E[quantity] / whole · barrier: the barrier is counted, only the expectation has a gradient."""
        low, high = bounds(self._full_amount, self._budget, progress)
        push = barrier(self.amount(), low, high)
        pushed = torch.where(self._in_core(), self.locations.detach(), self.locations)
        expected = self._quantity.expected(self._widths(chance(pushed)))
        return self._bar.strength * push * expected / self._full_amount

    @torch.no_grad()
    def _in_core(self) -> Tensor:
        """Of each channel whether it is among the likeliest of its group, of which so many are left alone."""
        inside = torch.zeros_like(self.raw, dtype=torch.bool)
        sizes = self._layout.sizes.tolist()
        parts = zip(torch.split(self.raw, sizes), torch.split(inside, sizes), self.core.tolist(), strict=True)
        for locations, marks, count in parts:
            marks[locations.topk(count).indices] = True
        return inside

    def amount(self) -> int:
        """The quantity of the channels that are alive now."""
        alive = (self.locations.detach() > ALIVE).to(torch.int64)
        return self._quantity.count(self._widths(alive).cpu().numpy())

    def _widths(self, values: Tensor) -> Tensor:
        group = self.get_buffer("_group")
        return values.new_zeros(len(self._layout.groups)).index_add(0, group, values)

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """Besides the base class's: gates are drawn anew for every forward pass, and stand in front of the readers."""
        drawn: list[Tensor] = []

        def draw(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            # From torch's own generator, like dropout: the training sets it for every step.
            uniform = torch.rand_like(self.raw).clamp(1e-6, 1 - 1e-6)
            drawn[:] = [_with_slot(sample(self.locations, uniform))]

        handles = [network.register_forward_pre_hook(draw)]
        for layer, owners in readers(self._layout).items():
            index = torch.from_numpy(owners).to(self.raw.device)
            handles.append(network.get_submodule(layer).register_forward_pre_hook(_gate(drawn, index)))
        try:
            with super().watching(network) as seen:
                yield seen
        finally:
            for handle in handles:
                handle.remove()


def core_widths(layout: Layout, quantity: Quantity, budget: int, share: float) -> np.ndarray:
    """Channels per group that are not pushed: a share of those of a uniform network, rounded up, int64 ``[G]``."""
    return np.ceil(share * widest(layout, quantity, budget)).astype(np.int64)


def readers(layout: Layout) -> dict[str, np.ndarray]:
    """Per layer that reads a group: for each of its inputs the flat channel, or the last slot, which is never gated."""
    return {layer: owners for (layer, side), owners in layout.owners.items() if side == "in"}


def _with_slot(gates: Tensor) -> Tensor:
    return torch.cat([gates, gates.new_ones(1)])


def _gate(drawn: list[Tensor], index: Tensor) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = args
        gates = drawn[0][index].to(x.dtype)
        return (x * (gates.view(1, -1, 1, 1) if isinstance(module, nn.Conv2d) else gates), *rest)

    return before


def first_locations(layout: Layout, generator: torch.Generator) -> Tensor:
    """Nearly open gates, as the paper starts them: U(0, 0.01), float32 ``[channels]``."""
    return 0.01 * torch.rand(int(layout.sizes.sum()), generator=generator)
