"""What one untrained convolution sees: pooled responses to patches of the images themselves."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from spaces.randomness import torch_generator
from workers.complexity.embeddings.pca import project
from workers.complexity.embeddings.standardise import standardise

_SAMPLED = 20_000
_CHUNK = 128
# Of the pixel scale 0 … 255: flat patches must not become noise.
_CONTRAST_FLOOR = 10.0
_WHITENING_FLOOR = 0.1


def patches(images: Tensor, seed: int, components: int = 16, filters: int = 128, threshold: float = 0.25) -> Tensor:
    """Principal components of pooled patch responses of uint8 ``[N, C, H, W]``: float32 ``[N, components]``.

    After Coates & Ng, "The Importance of Encoding Versus Training", ICML 2011: patches are normalised in contrast and
    whitened, ``filters`` random ones become filters, responses beyond ``threshold`` of either sign are averaged over
    the four quarters of the image. Distances between these are less upset by shifts and noise than those of pixels.

    Patches are 5 × 5, in images below 12 pixels 3 × 3.
    """
    side = 5 if min(images.shape[2:]) >= 12 else 3
    generator = torch_generator(seed, "patches")
    sample = _sample(images, side, generator)
    mean = sample.mean(0)
    values, vectors = torch.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    whiten = vectors @ torch.diag((values + _WHITENING_FLOOR).rsqrt()) @ vectors.T
    chosen = torch.randperm(len(sample), generator=generator)[:filters].to(images.device)
    bank = F.normalize((sample[chosen] - mean) @ whiten)
    parts = [_pooled(part, side, mean, whiten @ bank.T, threshold) for part in torch.split(images, _CHUNK)]
    return standardise(project(torch.cat(parts), components))


def _sample(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Random patches, normalised, float32 ``[M, C·side²]``."""
    count, _, height, width = images.shape
    drawn = torch.randint(count, (_SAMPLED,), generator=generator)
    rows = torch.randint(height - side + 1, (_SAMPLED,), generator=generator)
    columns = torch.randint(width - side + 1, (_SAMPLED,), generator=generator)
    steps = torch.arange(side)
    window = images[
        drawn[:, None, None].to(images.device),
        :,
        (rows[:, None, None] + steps[:, None]).to(images.device),
        (columns[:, None, None] + steps).to(images.device),
    ]
    return _normalised(window.permute(0, 3, 1, 2).flatten(1).float())


def _normalised(rows: Tensor) -> Tensor:
    """Every patch ``[..., D]`` without its mean, by its contrast."""
    centred = rows - rows.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + _CONTRAST_FLOOR).sqrt()


def _pooled(images: Tensor, side: int, mean: Tensor, bank: Tensor, threshold: float) -> Tensor:
    """Responses of either sign, averaged over quarters: float32 ``[N, 8 · filters]``."""
    seen = _normalised(F.unfold(images.float(), side).transpose(1, 2))
    responses = ((seen - mean) @ bank).transpose(1, 2)
    places = responses.reshape(*responses.shape[:2], images.shape[2] - side + 1, images.shape[3] - side + 1)
    quarters = [F.adaptive_avg_pool2d(F.relu(signed - threshold), 2) for signed in (places, -places)]
    return torch.cat(quarters, 1).flatten(1)
