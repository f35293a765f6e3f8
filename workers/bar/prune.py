"""Budget-aware regularisation from start to end: train with gates, land within the budget, fold the gates away."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from spaces.layout import Layout
from spaces.quantity import make_quantity
from spaces.randomness import torch_generator
from spaces.shedding import check_reachable, shed
from workers.bar.gates import GatedObjective, first_locations, readers
from workers.bar.hard_concrete import ALIVE, settled
from workers.bar.settings import BarSettings
from workers.batches import Tensors
from workers.measure.accuracy import predict
from workers.train import TrainSettings, train


@dataclass(frozen=True)
class Barred:
    """What budget-aware training found.

    Attributes:
        network: of full size, eval mode, its gates folded into the weights that read them; those of removed channels
            are zero. Slice it by :func:`spaces.surgery.compact` with ``kept``, recalibrate and fine-tune.
        kept: per group, the channels that stay.
        amount: of the budgeted quantity, at most the budget.
        gated: amount of the open gates when training ended, before anything was repaired; at most ``amount`` unless
            gates were still open that the budget has no room for.
        locations: φ of every channel, float64 ``[channels]``.
    """

    network: nn.Module
    kept: Mapping[str, np.ndarray]
    amount: int
    gated: int
    locations: np.ndarray


def bar(
    network: nn.Module,
    layout: Layout,
    data: Tensors,
    budget: int,
    training: TrainSettings,
    settings: BarSettings,
    seed: int,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int], None] | None = None,
    soft_labels: Tensor | None = None,
) -> Barred:
    """Prune ``network`` to ``budget`` while it trains; it is left as it is, and is the teacher.

    Args:
        network: trained, on the device of ``data``.
        layout: made from it.
        budget: in units of ``settings.measure``.
        training: of gates and weights together, by cross-entropy and distillation (the paper's α, 0.9 at temperature 4
            there); other terms have no part in it.
        seed, checkpoint, after_epoch: see :func:`workers.train.train`.
        soft_labels: logits of ``network`` on ``data``, float ``[N, K]``, where they are known already.

    Raises:
        OutOfReach: not even one channel per group fits.
        Diverged: the loss is not finite.
        ValueError: ``training.ema`` is on: averaged weights do not belong to the last gates.
    """
    if training.ema:
        raise ValueError(f"ema: gates are not averaged with the weights, so it must be 0 here, got {training.ema}")
    quantity = make_quantity(layout, settings.measure)
    check_reachable(layout, quantity, budget)
    teacher = predict(network, data) if training.distillation and soft_labels is None else soft_labels
    first = first_locations(layout, torch_generator(seed, "gates")).to(data.labels.device)
    objective = GatedObjective(training, layout, budget, settings, first)
    gated = copy.deepcopy(network)
    train(gated, data, training, seed, teacher, checkpoint, after_epoch, objective=objective)
    locations = objective.locations.detach()
    kept = shed(layout, quantity, budget, locations.cpu().double().numpy(), ALIVE, objective.core)
    fold(gated, layout, settled(locations) * _stays(layout, kept, locations))
    widths = np.array([len(kept[name]) for name in layout.names])
    return Barred(gated, kept, quantity.count(widths), objective.amount(), locations.cpu().double().numpy())


def _stays(layout: Layout, kept: Mapping[str, np.ndarray], like: Tensor) -> Tensor:
    """1 for every flat channel that is kept, 0 for others."""
    return torch.as_tensor(layout.alive(kept)[:-1], dtype=like.dtype, device=like.device)


@torch.no_grad()
def fold(network: nn.Module, layout: Layout, gates: Tensor) -> None:
    """Multiply the gates (float ``[channels]``) into the weights of the layers that read their channels, in place."""
    factors = torch.cat([gates, gates.new_ones(1)])
    for layer, owners in readers(layout).items():
        weight = network.get_submodule(layer).get_parameter("weight")
        factor = factors[torch.from_numpy(owners).to(gates.device)]
        weight.mul_(factor.view(1, -1, *[1] * (weight.dim() - 2)))
