"""A small training with everything in it that has a state or draws at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spaces.networks import NetworkSpec, build_network
from workers.batches import Tensors, place
from workers.train import TrainSettings

SHAPE, CLASSES = (1, 6, 6), 3
SETTINGS = TrainSettings(epochs=4, batch_size=16, shift=1, distillation=0.5, label_smoothing=0.1)
EVERYTHING = TrainSettings(
    epochs=4,
    batch_size=16,
    ema=0.9,
    give_up=0.99,
    label_smoothing=0.1,
    distillation=0.5,
    shift=1,
    flip=True,
    cutout=2,
)


def make_data(count: int = 50) -> Tensors:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, CLASSES, count))
    return Tensors(images, labels, torch.full((1, 1, 1, 1), 128.0), torch.full((1, 1, 1, 1), 64.0))


def make_network(dropout: bool = False) -> nn.Module:
    """An Inception network, with a dropout before its classifier if asked for."""
    spec = NetworkSpec("inception", SHAPE, CLASSES, {"stem": 4, "widths": [8, 12], "modules": [1, 1]})
    network = build_network(spec, torch.Generator().manual_seed(1))
    if dropout:
        network.classifier = nn.Sequential(nn.Dropout(0.3), network.classifier)
    return place(network, make_data())


def soft_labels(count: int = 50) -> Tensor:
    return torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(2))


def same(first: nn.Module, second: nn.Module) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
