"""What a network takes of a GPU while it is trained and probed: by it, workers share one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from workers.batches import TensorSplits
from workers.probe import ProbeSettings, probe
from workers.train import TrainSettings, train

STEPS = 3
"""Of training: from the second on the optimiser's state is there too."""


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of a GPU.

    Attributes:
        used: at the peak, by all that is on it: this process's context, libraries, data and networks, and whatever
            other processes have there.
        total: that it has.
    """

    used: int
    total: int


def measure_memory(
    network: nn.Module, data: TensorSplits, training: TrainSettings, probing: ProbeSettings
) -> GpuMemory | None:
    """Train ``network`` for a few steps and probe it, as candidates are; nothing of it is of use afterwards.

    PyTorch keeps what it took from the device, so what is free afterwards is the least that ever was.

    Args:
        network: the largest there will be, on the device of ``data``.

    Returns:
        ``None`` where ``data`` are on no GPU.
    """
    device = data.train.labels.device
    classes = int(data.train.labels.max()) + 1
    few = data.train.first(STEPS * training.batch_size)
    soft_labels = torch.zeros(len(few), classes, device=device)
    train(network, few, replace(training, epochs=1, give_up=0.0), 0, soft_labels)
    probe(network, data, probing, classes)
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return GpuMemory(total - free, total)
