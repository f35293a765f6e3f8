"""What benchmarks of pruning by training share: real image sets, a residual base network, plain rivals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import ttest_1samp
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria import resolve, score_groups
from spaces.groups import example_input
from spaces.layout import Layout, make_layout
from spaces.randomness import numpy_generator, seed_for, torch_generator
from spaces.surgery import compact
from workers.batches import Tensors, place, to_tensors
from workers.data.load import DataRequest, load_splits
from workers.measure.accuracy import measure_accuracy, predict
from workers.recalibrate import recalibrate
from workers.train import TrainSettings, train

SETS = ("digits", "signs", "cifar10")


@dataclass(frozen=True)
class ImageSet:
    """Training and test images; the validation split is left for choosing settings and not touched here."""

    name: str
    train: Tensors
    test: Tensors
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def load_set(name: str, size: int, limit: int | None) -> ImageSet:
    """``digits``, or another of :data:`SETS` from the folder that NIWAKI_DATA names, at ``size`` pixels a side."""
    root = os.environ.get("NIWAKI_DATA", "")
    files = {"signs": "sign-digits", "cifar10": "cifar10"}
    request = (
        DataRequest("digits")
        if name == "digits"
        else DataRequest(
            f"{root}/{files[name]}-train.parquet", f"{root}/{files[name]}-test.parquet", size=size, limit=limit
        )
    )
    splits = load_splits(request)
    mean, std = splits.statistics()
    train, test = (to_tensors(s, mean, std) for s in (splits.train, splits.test))
    return ImageSet(name, train, test, len(splits.train.class_names))


class Block(nn.Module):
    """Two 3×3 convolutions beside a 1×1 one."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(inner)) + self.skip(x))


class WideResidual(nn.Module):
    """A small wide residual network: one block per width, resolution halved between them."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        pairs = zip([widths[0], *widths[:-1]], widths, strict=True)
        self.blocks = nn.Sequential(*(Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def residual_base(images: ImageSet, widths: Sequence[int], epochs: int, seed: int) -> tuple[nn.Module, Layout]:
    """A trained :class:`WideResidual` and its layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "base weights"))
        network = place(WideResidual(images.shape[0], images.classes, widths), images.train)
    train(network, images.train, TrainSettings(epochs=epochs, shift=1), seed_for(seed, "base"))
    return network, make_layout(network, example_input(images.shape))


def by_criterion(
    network: nn.Module, layout: Layout, widths: np.ndarray, criterion: str, scoring: Tensors, seed: int
) -> dict[str, np.ndarray]:
    """Per group, the channels of greatest score."""
    images, labels = next(scoring.batches(len(scoring)))
    scores = score_groups(
        network, layout, resolve([criterion]), images, labels, 128, lambda *purpose: torch_generator(seed, *purpose)
    )
    return {
        name: np.sort(np.argsort(-scores[name][0], kind="stable")[:width])
        for name, width in zip(layout.names, widths.tolist(), strict=True)
    }


def some(images: Tensors, count: int, seed: int) -> Tensors:
    """A mixed sample of ``count`` images."""
    order = torch.from_numpy(numpy_generator(seed, "sample").permutation(len(images))[:count])
    return Tensors(images.images[order], images.labels[order], images.mean, images.scale, images.memory_format)


def finished(
    network: nn.Module,
    layout: Layout,
    kept: Mapping[str, np.ndarray],
    images: ImageSet,
    settings: TrainSettings,
    seed: int,
    teacher: Tensor | None = None,
) -> tuple[float, nn.Module]:
    """Test accuracy after slicing, recalibration and fine-tuning, and the network."""
    small = place(compact(network, layout, kept), images.train)
    recalibrate(small, some(images.train, 512, seed), 64)
    train(small, images.train, settings, seed_for(seed, "fine-tune"), teacher)
    return measure_accuracy(small, images.test).accuracy, small


def soft_labels(network: nn.Module, images: ImageSet) -> Tensor:
    """The base network's logits on the training images."""
    return predict(network, images.train)


def interval(differences: Sequence[float]) -> str:
    """Mean of paired differences and its 95% interval, in points."""
    values = 100 * np.asarray(differences)
    if np.ptp(values) == 0:
        return f"{values.mean():+.2f}"
    low, high = ttest_1samp(values, 0).confidence_interval()
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
