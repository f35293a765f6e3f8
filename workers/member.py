"""A member of a population on disk: its weights, and the channels of its trunk that they belong to."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from spaces.inherit import Parent
from workers.checkpoint import CandidateFile, CheckpointError, load_candidate, save_candidate


def member_path(folder: Path, name: str) -> Path:
    """Where the weights of the member called ``name`` lie in a run's folder, as long as children may need them."""
    return folder / "weights" / "members" / f"{name}.safetensors"


def save_member(
    folder: Path, name: str, network: nn.Module, about: CandidateFile, kept: Mapping[str, np.ndarray], epochs: int
) -> None:
    """Write a member, whole or not at all.

    Args:
        kept: per group, the channels of the trunk that the network keeps.
        epochs: that it and its ancestors have been trained beyond the base network.
    """
    path = member_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = json.dumps({group: indices.tolist() for group, indices in kept.items()})
    save_candidate(path, network, replace(about, metadata={"kept": channels, "epochs": str(epochs)}))


def load_member(folder: Path, name: str, factories: Collection[str] = ()) -> tuple[Parent, int]:
    """A member that children can inherit from, on the CPU, and the epochs it has been trained.

    Raises:
        CheckpointError: it is not there, damaged, or not a member.
    """
    path = member_path(folder, name)
    network, about = load_candidate(path, factories)
    try:
        kept = {group: np.array(c, dtype=np.int64) for group, c in json.loads(about.metadata["kept"]).items()}
        return Parent(about.growth, kept, network), int(about.metadata["epochs"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: not a member of a population ({error!r})", "search anew") from error
