"""An Inception-style network that can grow: stages of four-branch modules, halved in resolution between stages.

After Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, with batch norm and the 5×5 branch as two 3×3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ModuleSpec:
    """Output channels of a module's convolutions, branch by branch in the order in which they run."""

    one: int
    three: tuple[int, int]
    five: tuple[int, int, int]
    pool: int

    @property
    def outputs(self) -> int:
        return self.one + self.three[1] + self.five[2] + self.pool

    @classmethod
    def of_width(cls, width: int) -> ModuleSpec:
        """GoogLeNet's proportions at a given number of output channels (≥ 8)."""
        eighth = max(1, width // 8)
        three = max(1, width // 2)
        one = width - three - 2 * eighth
        return cls(one, (max(1, three * 3 // 4), three), (eighth, eighth, eighth), eighth)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU; the spatial size is kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class InceptionModule(nn.Module):
    """Branches 1×1 · 1×1→3×3 · 1×1→3×3→3×3 · pool→1×1, concatenated in this order."""

    def __init__(self, inputs: int, spec: ModuleSpec) -> None:
        super().__init__()
        self.one = ConvUnit(inputs, spec.one, 1)
        self.three = nn.Sequential(ConvUnit(inputs, spec.three[0], 1), ConvUnit(spec.three[0], spec.three[1], 3))
        self.five = nn.Sequential(
            ConvUnit(inputs, spec.five[0], 1),
            ConvUnit(spec.five[0], spec.five[1], 3),
            ConvUnit(spec.five[1], spec.five[2], 3),
        )
        self.pool = ConvUnit(inputs, spec.pool, 1)

    @property
    def spec(self) -> ModuleSpec:
        """As the module is now: pruning narrows its convolutions."""
        one, three, five, pool = (
            [m.out_channels for m in branch.modules() if isinstance(m, nn.Conv2d)]
            for branch in (self.one, self.three, self.five, self.pool)
        )
        return ModuleSpec(one[0], (three[0], three[1]), (five[0], five[1], five[2]), pool[0])

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(pooled)], dim=1)


class Inception(nn.Module):
    """Stem, stages of :class:`InceptionModule` with 2×2 max pooling between stages, global average, linear classifier.

    Args:
        channels: channels of the images.
        classes: number of outputs.
        stem: output channels of the 3×3 stem.
        stages: the modules of each stage.
    """

    def __init__(self, channels: int, classes: int, stem: int, stages: Sequence[Sequence[ModuleSpec]]) -> None:
        super().__init__()
        self.stem = ConvUnit(channels, stem, 3)
        self.stages = nn.ModuleList()
        width = stem
        for specs in stages:
            stage = nn.Sequential()
            for spec in specs:
                stage.append(InceptionModule(width, spec))
                width = spec.outputs
            self.stages.append(stage)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            if i and min(x.shape[-2:]) > 1:
                x = F.max_pool2d(x, 2)
            x = stage(x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits

    @property
    def specs(self) -> tuple[tuple[ModuleSpec, ...], ...]:
        """The modules of each stage, as the constructor takes them."""
        return tuple(tuple(m.spec for m in s.modules() if isinstance(m, InceptionModule)) for s in self.stages)


def build_inception(
    shape: tuple[int, int, int],
    classes: int,
    stem: int = 32,
    widths: Sequence[int] = (64, 128, 192),
    modules: Sequence[int] = (1, 2, 1),
) -> Inception:
    """An :class:`Inception` of ``modules[i]`` modules of ``widths[i]`` output channels in stage ``i``.

    Raises:
        ValueError: ``widths`` and ``modules`` differ in length, or an entry is too small.
    """
    if len(widths) != len(modules) or not widths:
        raise ValueError(
            f"network.arguments: widths {list(widths)} and modules {list(modules)} must be of equal length"
        )
    if min(widths) < 8 or min(modules) < 1 or stem < 2:
        raise ValueError("network.arguments: widths must be ≥ 8, modules ≥ 1 and stem ≥ 2")
    stages = [[ModuleSpec.of_width(w)] * n for w, n in zip(widths, modules, strict=True)]
    return Inception(shape[0], classes, stem, stages)
