"""Three small convolutional networks and how they are trained: the error that ``csg_value.py`` wants foretold."""

from __future__ import annotations

import torch
from csg_variants import Variant
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.randomness import torch_generator

EPOCHS = 10
BATCH = 50


def plain(channels: int, classes: int) -> nn.Module:
    """Two convolutions and two linear layers, after LeNet."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


def normed(channels: int, classes: int) -> nn.Module:
    """Three convolutions with batch norm, then an average over places."""
    layers: list[nn.Module] = []
    for before, after in ((channels, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()),
            *(nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)),
        )
        self.skip = nn.Conv2d(before, after, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def residual(channels: int, classes: int) -> nn.Module:
    """A stem and two residual blocks."""
    stem = (nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(
        *stem, _Block(16, 32), _Block(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
    )


NETWORKS = {"plain": plain, "normed": normed, "residual": residual}


def test_errors(variant: Variant) -> dict[str, float]:
    """Test error in [0, 1] of every network, trained on the variant's training images."""
    return {name: _test_error(name, variant) for name in NETWORKS}


def _test_error(name: str, variant: Variant) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_generator(0, name, "weights").get_state())
        network = NETWORKS[name](variant.train.shape[1], variant.classes).to(memory_format=torch.channels_last)
    mean, deviation = variant.train.float().mean(), variant.train.float().std()

    def normalise(images: Tensor) -> Tensor:
        return ((images.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)

    train, test = normalise(variant.train), normalise(variant.test)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.01)
    steps = EPOCHS * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(train), generator=torch_generator(0, name, variant.name, epoch))
        for rows in torch.split(order, BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(train[rows]), variant.train_labels[rows]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        return float((network(test).argmax(1) != variant.test_labels).double().mean())
