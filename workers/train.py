"""The full evaluation: train a network to the end, by epochs that can be resumed exactly.

All randomness of an epoch comes from (seed, epoch), so a training that was cut off and resumed from its checkpoint
ends with the weights of one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.randomness import seed_for, torch_generator
from workers.augment import augment
from workers.batches import Tensors
from workers.tensors import CheckpointError, load_tensors, save_tensors

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints: written after every epoch of a small network they would cost a tenth of it."""


class Diverged(RuntimeError):
    """The loss is not a number any more."""


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained; the fields of :class:`search.config.TrainConfig`, which documents them."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.003
    weight_decay: float = 0.01
    schedule: str = "one_cycle"
    label_smoothing: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0
    shift: int = 0
    flip: bool = False


def train(
    network: nn.Module,
    data: Tensors,
    settings: TrainSettings,
    seed: int,
    soft_labels: Tensor | None = None,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int], None] | None = None,
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

    Raises:
        Diverged: the loss is not finite.
    """
    optimizer = _optimizer(network, settings)
    start = _resume(checkpoint, network, optimizer, seed) if checkpoint is not None else 0
    saved = -math.inf
    for epoch in range(start, settings.epochs):
        _train_epoch(network, data, settings, optimizer, seed, epoch, soft_labels)
        if checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_SECONDS:
            _save(checkpoint, network, optimizer, seed, epoch + 1)
            saved = time.monotonic()
        if after_epoch is not None:
            after_epoch(epoch + 1)
    network.eval()


def _train_epoch(
    network: nn.Module,
    data: Tensors,
    settings: TrainSettings,
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
    running = torch.zeros((), device=data.labels.device)
    with _dropout_seed(seed_for(seed, "dropout", epoch), data.labels.device), _autocast(data.labels.device):
        for i, index in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate(settings.schedule, (epoch * len(batches) + i) / total)
            images = augment(data.normalise(data.images[index]), generator, settings.shift, settings.flip)
            target = soft_labels[index] if soft_labels is not None else None
            loss = _loss(network(images).float(), data.labels[index], target, settings)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            running += loss.detach()
    if not math.isfinite(float(running)):
        raise Diverged(f"the loss is not finite in epoch {epoch + 1} of {settings.epochs}")


def _loss(logits: Tensor, labels: Tensor, target: Tensor | None, settings: TrainSettings) -> Tensor:
    """Cross-entropy, mixed with Hinton's distillation (arXiv 1503.02531): (1−α)·CE + α·T²·KL(teacher ‖ student)."""
    loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
    if target is None or settings.distillation == 0:
        return loss
    t = settings.temperature
    soft = F.kl_div(
        F.log_softmax(logits / t, dim=1), F.log_softmax(target / t, dim=1), reduction="batchmean", log_target=True
    )
    return (1 - settings.distillation) * loss + settings.distillation * t * t * soft


def _rate(schedule: str, progress: float) -> float:
    """Factor on the learning rate at ``progress`` in [0, 1)."""
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    warm_up = 0.25
    if progress < warm_up:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / warm_up))
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    parameters = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        fused=True,
    )


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


def _save(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, seed: int, epochs: int) -> None:
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{i}.{k}": v for k, v in state.items()})
    save_tensors(path, tensors, {"seed": str(seed), "epochs": str(epochs)})


def _resume(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> int:
    """Epochs done according to the checkpoint, whose state is loaded; 0 where there is none of this training."""
    if not path.exists():
        return 0
    try:
        tensors, metadata = load_tensors(path)
    except CheckpointError:
        return 0  # a damaged checkpoint costs a fresh start, never the candidate
    if metadata.get("seed") != str(seed):
        return 0
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, position, field = name.split(".", 2)
            state.setdefault(int(position), {})[field] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, fields in state.items():
        for field, value in fields.items():
            if value.shape == parameters[index].shape:
                # The fused optimizer walks memory, so momenta must lie in memory as their parameter does.
                fields[field] = torch.empty_like(parameters[index], requires_grad=False).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epochs"])
