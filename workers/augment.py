"""Augmentation of a whole batch on its device; randomness drawn on the CPU, so that devices agree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(images: Tensor, generator: torch.Generator, shift: int = 0, flip: bool = False) -> Tensor:
    """Copies of ``[B, C, H, W]``, randomly shifted by up to ``shift`` pixels (zeros move in) and mirrored."""
    if shift:
        images = _shift(images, generator, shift)
    if flip:
        flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    return images


def _shift(images: Tensor, generator: torch.Generator, most: int) -> Tensor:
    batch, _, height, width = images.shape
    padded = F.pad(images, (most,) * 4)
    rows = torch.randint(0, 2 * most + 1, (batch, 1), generator=generator) + torch.arange(height)
    columns = torch.randint(0, 2 * most + 1, (batch, 1), generator=generator) + torch.arange(width)
    rows, columns = rows.to(images.device), columns.to(images.device)
    image = torch.arange(batch, device=images.device)
    return padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
