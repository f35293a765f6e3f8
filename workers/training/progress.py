"""A training under way, on disk: written whole or not at all, and only believed by the training that wrote it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from workers.tensors import CheckpointError, load_tensors, save_tensors


def save_progress(
    path: Path, network: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer, seed: int, epochs: int
) -> None:
    """Write the state after ``epochs`` epochs."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors.update({f"objective.{k}": v for k, v in objective.state_dict().items()})
    for i, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{i}.{k}": v for k, v in state.items()})
    save_tensors(path, tensors, {"seed": str(seed), "epochs": str(epochs)})


def load_progress(
    path: Path, network: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer, seed: int
) -> int:
    """Epochs done according to the checkpoint, whose state is loaded; 0 where there is none of this training."""
    if not path.exists():
        return 0
    try:
        tensors, metadata = load_tensors(path)
    except CheckpointError:
        return 0  # a damaged checkpoint costs a fresh start, never the candidate
    if metadata.get("seed") != str(seed):
        return 0
    network.load_state_dict(_part(tensors, "network."))
    objective.load_state_dict(_part(tensors, "objective."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        position, field = name.split(".", 1)
        state.setdefault(int(position), {})[field] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, fields in state.items():
        for field, value in fields.items():
            if value.shape == parameters[index].shape:
                # The fused optimizer walks memory, so momenta must lie in memory as their parameter does.
                fields[field] = torch.empty_like(parameters[index], requires_grad=False).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epochs"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
