"""Criteria scores on disk, found again by the content of all that they depend on.

A run that is resumed, and the next run over the same base network, need not score it again.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import spaces
from spaces.layout import Layout
from workers.batches import Tensors
from workers.tensors import CheckpointError, load_tensors, save_tensors

Scores = dict[str, np.ndarray]
"""By group name, float64 ``[criteria, size]``."""


def cached_scores(
    folder: Path, key: str, layout: Layout, criteria: Sequence[str], score: Callable[[], Scores]
) -> Scores:
    """What ``score()`` gives, or gave under this ``key``. A damaged file is scored and written again.

    Criteria of the user's own are always scored: what their code depends on is not known.
    """
    if any(":" in name for name in criteria):
        return score()
    path = folder / f"{key}.safetensors"
    shapes = {group.name: (len(criteria), group.size) for group in layout.groups}
    if path.exists():
        try:
            tensors, _ = load_tensors(path)
            found = {name: tensor.numpy() for name, tensor in tensors.items()}
            if {name: table.shape for name, table in found.items()} == shapes:
                return found
            problem = "it holds the scores of other groups"
        except CheckpointError as error:
            problem = str(error)
        logging.getLogger(__name__).warning("%s: scored again (%s)", path, problem)
    scores = score()
    kept = {name: torch.from_numpy(table) for name, table in scores.items()}
    try:
        save_tensors(path, kept, {"criteria": " ".join(criteria)})
    except OSError as error:
        logging.getLogger(__name__).warning("%s: cannot be kept, the next run scores again (%s)", path, error)
    return scores


def content_key(
    network: nn.Module, layout: Layout, criteria: Sequence[str], scoring: Tensors, *settings: object
) -> str:
    """Hash of everything that decides scores: weights, layers and their settings, groups, criteria, images, code.

    Of a user's network the files that define its modules count, not what those files import.

    Args:
        network: grown, with its weights.
        settings: whatever else the scores depend on; their ``repr`` counts.
    """
    found = hashlib.sha256(_code(tuple(dict.fromkeys(type(module) for module in network.modules()))))
    how = (scoring.images.device.type, scoring.memory_format, torch.__version__, torch.get_num_threads())
    about = (tuple(criteria), settings, *how)
    for name, module in network.named_modules():
        plain = {k: v for k, v in vars(module).items() if isinstance(v, bool | int | float | str | tuple | None)}
        found.update(repr((name, type(module).__qualname__, sorted(plain.items()))).encode())
    found.update(repr(about).encode())
    for group in layout.groups:
        members = [(member.layer, member.side, member.positions.tolist()) for member in group.members]
        found.update(repr((group.name, group.size, members)).encode())
    _add(found.update, network.state_dict())
    seen = {"images": scoring.images, "labels": scoring.labels, "mean": scoring.mean, "scale": scoring.scale}
    _add(found.update, seen)
    return found.hexdigest()[:24]


def _add(update: Callable[[bytes], None], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        update(tensor.detach().to("cpu").contiguous().numpy().tobytes())


@cache
def _code(modules: tuple[type[nn.Module], ...]) -> bytes:
    """Digest of what scores and of what is scored: another version's scores may mean something else."""
    found = hashlib.sha256()
    for folder in spaces.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            found.update(path.read_bytes())
    for module in modules:
        source = inspect.getsourcefile(module)
        if source is not None and not module.__module__.startswith("torch."):
            found.update(Path(source).read_bytes())
    return found.digest()
