"""Principal components of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.complexity.embeddings.standardise import standardise

_CHUNK = 4096


def pca(images: Tensor, seed: int, components: int = 32) -> Tensor:
    """The leading principal components of uint8 ``[N, C, H, W]``, each standardised: float32 ``[N, components]``.

    Fewer columns where the images have fewer pixels. Nothing is drawn from ``seed``; the sign of a component is such
    that its greatest weight is positive.
    """
    return standardise(project(images.flatten(1), components))


def project(features: Tensor, components: int) -> Tensor:
    """Features ``[N, D]`` on their ``components`` directions of greatest variance, float64, in order of variance."""
    mean = features.double().mean(0) if features.is_floating_point() else features.sum(0).double() / len(features)
    covariance = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
    parts = torch.split(features, _CHUNK)
    for part in parts:
        centred = part.double() - mean
        covariance.addmm_(centred.T, centred)
    directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :components]
    greatest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * greatest.sign()
    return torch.cat([(part.double() - mean) @ directions for part in parts])
