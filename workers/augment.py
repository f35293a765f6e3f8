"""Augmentation of whole batches of stored images on their device, from random draws made once an epoch.

The draws come from the CPU, so that devices agree, and go to the device in one piece: no step waits for a copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.training.settings import TrainSettings


@dataclass(frozen=True)
class Draws:
    """What chance does to each of N images; ``None`` for what is not asked for.

    Attributes:
        corner: int64 ``[N, 2]``: row and column at which the image is cut out of its padded self.
        mirrored: bool ``[N]``.
        hole: int64 ``[N, 2]``: row and column of the middle of a square that is blotted out (cutout: DeVries and
            Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017).
        shift: pixels of padding on each side.
        cutout: the square's side in pixels.
    """

    corner: Tensor | None = None
    mirrored: Tensor | None = None
    hole: Tensor | None = None
    shift: int = 0
    cutout: int = 0

    def of(self, start: int, stop: int) -> Draws:
        """Those of images ``start`` to ``stop``."""

        def part(all_of_them: Tensor | None) -> Tensor | None:
            return None if all_of_them is None else all_of_them[start:stop]

        return Draws(part(self.corner), part(self.mirrored), part(self.hole), self.shift, self.cutout)


def draw(
    count: int,
    size: tuple[int, int],
    settings: TrainSettings,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Draws:
    """Draws for ``count`` images of ``size`` (height, width), on ``device``."""
    height, width = size
    corner = mirrored = hole = None
    if settings.shift:
        corner = torch.randint(0, 2 * settings.shift + 1, (count, 2), generator=generator).to(device)
    if settings.flip:
        mirrored = (torch.rand(count, generator=generator) < 0.5).to(device)
    if settings.cutout:
        # A square over an edge blots out less, as in the paper: every pixel is its middle equally often.
        middles = [torch.randint(0, side, (count,), generator=generator) for side in (height, width)]
        hole = torch.stack(middles, dim=1).to(device)
    return Draws(corner, mirrored, hole, settings.shift, settings.cutout)


def augment(images: Tensor, draws: Draws, fill: Tensor) -> Tensor:
    """``[B, C, H, W]`` shifted, mirrored and blotted out as drawn.

    Args:
        fill: ``[1, C, 1, 1]`` of the images' dtype: what moves in at the edges and stands in holes.
    """
    if draws.corner is not None:
        images = _shifted(images, draws.corner, draws.shift, fill)
    if draws.mirrored is not None:
        images = torch.where(draws.mirrored[:, None, None, None], images.flip(-1), images)
    if draws.hole is not None:
        images = torch.where(_square(images, draws.hole, draws.cutout), fill, images)
    return images


def _shifted(images: Tensor, corner: Tensor, most: int, fill: Tensor) -> Tensor:
    batch, channels, height, width = images.shape
    canvas = fill.expand(batch, channels, height + 2 * most, width + 2 * most).clone()
    canvas[:, :, most : most + height, most : most + width] = images
    rows = corner[:, :1] + torch.arange(height, device=images.device)
    columns = corner[:, 1:] + torch.arange(width, device=images.device)
    image = torch.arange(batch, device=images.device)
    return canvas[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _square(images: Tensor, hole: Tensor, side: int) -> Tensor:
    """Bool ``[B, 1, H, W]``: the pixels within ``side`` × ``side`` around each image's hole."""
    first = hole - side // 2
    rows = torch.arange(images.shape[2], device=images.device) - first[:, :1]
    columns = torch.arange(images.shape[3], device=images.device) - first[:, 1:]
    within = [(place >= 0) & (place < side) for place in (rows, columns)]
    return (within[0][:, :, None] & within[1][:, None, :])[:, None]
