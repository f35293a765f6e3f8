"""A training under way, on disk: written whole or not at all, and only believed by the training that wrote it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workers.tensors import CheckpointError, load_tensors, save_tensors
from workers.training.course import Course
from workers.training.settings import TrainSettings

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints."""

LARGEST_SHARE = 0.02
"""Most of the time that checkpoints may take: those of large networks are rarer."""


class Progress:
    """The checkpoint of one training.

    Args:
        path: its file, safetensors with what it belongs to as JSON in the header; ``None`` to keep none.
        seed, settings, images, objective: what the training is; the checkpoint of another is not resumed.
    """

    def __init__(
        self, path: Path | None, settings: TrainSettings, seed: int, images: int, objective: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._identity = {**_identity(settings, seed, images), **objective}
        self._due = math.inf if path is None else time.monotonic() + CHECKPOINT_SECONDS
        self._saved = False

    def resume(self, course: Course, end: int) -> int:
        """Steps done according to the checkpoint, whose state is loaded; 0 where there is none of this training, or it
        is beyond step ``end``.
        """
        if self._path is None or not self._path.exists():
            return 0
        try:
            tensors, metadata = load_tensors(self._path)
            header = json.loads(metadata["training"])
            steps, ours = int(header["steps"]), header["identity"] == self._identity
        except (CheckpointError, KeyError, TypeError, ValueError):
            return 0  # a damaged checkpoint costs a fresh start, never the candidate
        if not ours or steps > end or not _fits(course, tensors):
            return 0
        for name, module in course.modules.items():
            module.load_state_dict(_part(tensors, f"{name}."))
        _fill_optimizer(course.optimizer, _part(tensors, "optimizer."))
        self._saved = True
        return steps

    def save_if_due(self, course: Course, steps: int, epoch_ends: bool) -> None:
        """:meth:`save`, from time to time and after the first epoch."""
        if time.monotonic() >= self._due or (epoch_ends and not self._saved):
            self.save(course, steps)

    def save(self, course: Course, steps: int) -> None:
        """Write the state after ``steps`` steps."""
        if self._path is None:
            return
        started = time.monotonic()
        tensors = {
            f"{name}.{key}": value
            for name, module in course.modules.items()
            for key, value in module.state_dict().items()
        }
        for i, state in course.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{i}.{key}": value for key, value in state.items()})
        save_tensors(
            self._path, tensors, {"training": json.dumps({"steps": steps, "identity": self._identity}, sort_keys=True)}
        )
        ended = time.monotonic()
        self._due = ended + max(CHECKPOINT_SECONDS, (ended - started) / LARGEST_SHARE)
        self._saved = True


def take_over(parent: Path, path: Path, settings: TrainSettings, seed: int, images: int) -> None:
    """Write to ``path`` the state that the training of ``parent`` stood in, as that of another training.

    It goes on from the same step by its own ``settings``.

    Raises:
        CheckpointError: there is no such state, it is damaged, or its epochs or batches are others.
    """
    tensors, metadata = load_tensors(parent)
    try:
        header = json.loads(metadata["training"])
        before = header["identity"]["settings"]
        if (before["epochs"], before["batch_size"]) != (settings.epochs, settings.batch_size):
            raise ValueError("its steps are others")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{parent}: no state to go on from ({error!r})", "train from the start") from error
    header["identity"] = _identity(settings, seed, images)
    save_tensors(path, tensors, {"training": json.dumps(header, sort_keys=True)})


def _identity(settings: TrainSettings, seed: int, images: int) -> dict[str, Any]:
    return {"seed": seed, "images": images, "settings": asdict(settings)}


def _fits(course: Course, tensors: dict[str, Tensor]) -> bool:
    """Whether every state of the course is there in its shape, so that nothing is loaded by half."""
    wanted = {
        f"{name}.{key}": value.shape
        for name, module in course.modules.items()
        for key, value in module.state_dict().items()
    }
    found = {name: value.shape for name, value in tensors.items() if not name.startswith("optimizer.")}
    return wanted == found


def _fill_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        position, field = name.split(".", 1)
        state.setdefault(int(position), {})[field] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, fields in state.items():
        for field, value in fields.items():
            if value.shape == parameters[index].shape:
                # The fused optimizer walks memory, so momenta must lie in memory as their parameter does.
                fields[field] = torch.empty_like(parameters[index], requires_grad=False).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
