"""Training methods that choose channels themselves, at the size of a candidate: what a search is held against."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from spaces.foundation import Trunk
from spaces.quantity import Measure
from spaces.randomness import seed_for
from spaces.surgery import compact
from workers.bar import BarSettings, bar
from workers.batches import TensorSplits, place
from workers.recalibrate import recalibrate
from workers.recipes.push_prune import BATCH_SIZE, Slimmed, push_and_prune
from workers.shelf import STATE, Shelf
from workers.shelved import on_shelf, train_on_shelf
from workers.train import TrainSettings

PUSH = 0.1
"""Weight of the push where the settings have none."""

ROUNDS = 2
"""Of pushing and pruning."""


def train_with_gates(
    trunk: Trunk,
    data: TensorSplits,
    budget: int,
    measure: Measure,
    training: TrainSettings,
    seed: int,
    soft_labels: Tensor | None,
    shelf: Shelf,
    path: Path,
) -> Slimmed:
    """Budget-aware regularisation (:mod:`workers.bar`) for half of the epochs, fine-tuning for the others.

    Args:
        trunk: its network is left as it is, and is the teacher of both halves.
        budget: in units of ``measure``.
        training: of both halves; the first is without ``ema``, ``give_up`` and other losses than those of labels and
            teacher.
        soft_labels: see :func:`workers.train.train`.
        path: the halves' states are files of the shelf beside it (:func:`states_beside`), left to whoever calls.

    Raises:
        OutOfReach: not even one channel per group fits.
        Diverged: the loss is not finite.
    """
    gates, after = states_beside(path)[:2]
    gated = replace(training, epochs=(training.epochs + 1) // 2, ema=0.0, give_up=0.0)
    with on_shelf(shelf, gates) as after_epoch:
        found = bar(
            trunk.network,
            trunk.layout,
            data.train,
            budget,
            gated,
            BarSettings(measure),
            seed_for(seed, "gates"),
            gates,
            after_epoch,
            soft_labels,
        )
    network = place(compact(found.network, trunk.layout, found.kept), data.train)
    recalibrate(network, data.calibration, BATCH_SIZE)
    tuning = replace(training, epochs=training.epochs - gated.epochs)
    train_on_shelf(shelf, after, network, data.train, tuning, seed, soft_labels)
    return Slimmed(network, {name: len(channels) for name, channels in found.kept.items()})


def states_beside(path: Path) -> tuple[Path, ...]:
    """What a method goes on from, a file for each of its parts, where its network will be at ``path``."""
    return tuple(path.with_suffix(f".{part}{STATE}") for part in range(ROUNDS + 1))


def train_with_push(
    trunk: Trunk,
    data: TensorSplits,
    budget: int,
    measure: Measure,
    training: TrainSettings,
    seed: int,
    keep: Sequence[str],
    shelf: Shelf,
    path: Path,
) -> Slimmed:
    """Push and prune by turns (:func:`workers.recipes.push_and_prune`), without a teacher.

    Args:
        trunk: its network is left as it is.
        budget: in units of ``measure``.
        keep: shell patterns of layers to keep from pruning.
        path: as in :func:`train_with_gates`.

    Raises:
        OutOfReach: not even one channel per group fits.
        Diverged: the loss is not finite.
        ValueError: no linear classifier ends the network; or see :func:`workers.recipes.push_and_prune`.
    """
    states = states_beside(path)

    def train_part(part: int, network: nn.Module, settings: TrainSettings, seed: int) -> None:
        train_on_shelf(shelf, states[part], network, data.train, settings, seed, None)

    network = place(copy.deepcopy(trunk.network), data.train)
    settings = replace(training, push=training.push or PUSH)
    return push_and_prune(network, data.train, budget, measure, settings, ROUNDS, seed, keep, train_part)
