"""The full evaluation: train a network to the end, by epochs that can be resumed exactly.

All randomness of an epoch comes from (seed, epoch), so a training that was cut off and resumed from its checkpoint
ends with the weights of one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from spaces.randomness import seed_for, torch_generator
from workers.augment import augment
from workers.batches import Tensors
from workers.losses import Objective, Step, make_objective
from workers.training.optimizer import make_optimizer
from workers.training.progress import load_progress, save_progress
from workers.training.schedule import rate
from workers.training.settings import TrainSettings

__all__ = ["Diverged", "TrainSettings", "train"]

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints: written after every epoch of a small network they would cost a tenth of it."""


class Diverged(RuntimeError):
    """The loss is not a number any more."""


def train(
    network: nn.Module,
    data: Tensors,
    settings: TrainSettings,
    seed: int,
    soft_labels: Tensor | None = None,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int], None] | None = None,
    until: int | None = None,
) -> None:
    """Train ``network`` in place on ``data``; left in eval mode.

    Args:
        network: on the device of ``data``.
        seed: with the settings, data, device and thread count it determines the result bit for bit on CPU.
        soft_labels: the base network's logits on ``data``, float ``[N, K]``, used where ``settings.distillation`` > 0.
            They are those of the images as they are, also where the student sees them augmented.
        checkpoint: file to resume from where it exists, and to write every few seconds, after an epoch. Which epochs
            it holds makes no difference to the result.
        after_epoch: called with the number of epochs done.
        until: break off after so many epochs of the schedule, with the state in ``checkpoint``. Another call goes on
            from there, also with other settings of the loss and the optimizer.

    Raises:
        Diverged: the loss is not finite.
        ValueError: the settings ask for a loss that does not fit the network.
    """
    objective = make_objective(network, settings, torch_generator(seed, "objective"))
    optimizer = make_optimizer(network, objective, settings)
    start = load_progress(checkpoint, network, objective, optimizer, seed) if checkpoint is not None else 0
    if not start:
        objective.start(network, data)
    saved = -math.inf
    end = settings.epochs if until is None else min(until, settings.epochs)
    for epoch in range(start, end):
        _train_epoch(network, data, settings, objective, optimizer, seed, epoch, soft_labels)
        broken_off = epoch + 1 == end < settings.epochs
        if checkpoint is not None and (broken_off or time.monotonic() - saved >= CHECKPOINT_SECONDS):
            save_progress(checkpoint, network, objective, optimizer, seed, epoch + 1)
            saved = time.monotonic()
        if after_epoch is not None:
            after_epoch(epoch + 1)
    objective.finish(network)  # also of one that is broken off: its state is on disk, and it may be measured
    network.eval()


def _train_epoch(
    network: nn.Module,
    data: Tensors,
    settings: TrainSettings,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    seed: int,
    epoch: int,
    soft_labels: Tensor | None,
) -> None:
    generator = torch_generator(seed, "epoch", epoch)
    order = torch.randperm(len(data), generator=generator).to(data.labels.device)
    # A last batch of one image would give batch norm nothing to average over.
    batches = [b for b in order.split(settings.batch_size) if len(b) > 1]  # type: ignore[no-untyped-call]
    total = settings.epochs * len(batches)
    network.train()
    objective.train()
    running = torch.zeros((), device=data.labels.device)
    with (
        _dropout_seed(seed_for(seed, "dropout", epoch), data.labels.device),
        _autocast(data.labels.device),
        objective.watching(network) as seen,
    ):
        for i, index in enumerate(batches):
            progress = (epoch * len(batches) + i) / total
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate(settings.schedule, progress)
            images = augment(data.normalise(data.images[index]), generator, settings.shift, settings.flip)
            logits = network(images).float()
            target = soft_labels[index] if soft_labels is not None else None
            features = seen[0].float() if seen else None
            loss = objective(Step(logits, data.labels[index], target, features, progress))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            running += loss.detach()
    if not math.isfinite(float(running)):
        raise Diverged(f"the loss is not finite in epoch {epoch + 1} of {settings.epochs}")


@contextlib.contextmanager
def _dropout_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout and its like draw from torch's global generator: it is set for the block, and put back."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
