"""What may be asked of the last features besides the labels: losses without labels, and how far classes are apart.

They need to know all images' features before any gradient: one forward pass more, the preview, shared by all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria.tap import channel_axis, check_rows, hooked, position_axes

TEMPERATURE = 0.07
"""Of instance discrimination, as Wu et al. (CVPR 2018) have it."""

THUMBNAIL = 8
"""Pixels along each side of the pictures that are to be reconstructed."""

RIDGE = 1e-3
"""Of the decoder, relative to the features' mean variance: there may be more features than images."""

FLOOR = 1e-3
"""Least within-class variance of a feature, relative to the median one: a nearly dead feature is no discriminant."""


@dataclass(frozen=True)
class Preview:
    """All scoring images' last features: the input of the layer that was called last, its positions averaged.

    Attributes:
        layer: that layer's name.
        features: ``[N, d]``, of the network's dtype and device.
        labels: int64 ``[N]``.
        thumbnails: the images averaged down to at most ``THUMBNAIL`` pixels a side, float64 ``[N, P]``.
    """

    layer: str
    features: Tensor
    labels: Tensor
    thumbnails: Tensor

    def discriminants(self) -> Tensor:
        """``v_j = σ_b²(j) / σ_w²(j)``: between- over within-class scatter of each feature, float64 ``[d]``."""
        x = self.features.double()
        onehot = F.one_hot(self.labels).double()
        means = (onehot.T @ x) / onehot.sum(dim=0).clamp(min=1)[:, None]
        within = (x - means[self.labels]).square().sum(dim=0)
        between = (means[self.labels] - x.mean(dim=0)).square().sum(dim=0)
        floor = FLOOR * within.median()
        least = floor if floor > 0 else FLOOR * between.mean()
        return between / within.clamp(min=float(least)) if least > 0 else torch.zeros_like(between)

    def instance_losses(self, features: Tensor, rows: Tensor) -> Tensor:
        """Cross entropy of telling each image (number ``rows``) from all others by its features, ``[B]``."""
        bank = F.normalize(self.features, dim=1)
        likeness = F.normalize(features, dim=1) @ bank.T / TEMPERATURE
        return F.cross_entropy(likeness, rows, reduction="none")

    @cached_property
    def decoder(self) -> tuple[Tensor, Tensor]:
        """Weights ``[d, P]`` and bias ``[P]``, float64, of the ridge regression of thumbnails on features."""
        x = self.features.double()
        centred = x - x.mean(dim=0)
        gram = centred.T @ centred
        spread = gram.diagonal().mean()
        # Where no feature varies any ridge gives the same: nothing can be painted.
        gram.diagonal().add_(RIDGE * spread if spread > 1e-100 else torch.ones_like(spread))
        weights = torch.linalg.solve(gram, centred.T @ (self.thumbnails - self.thumbnails.mean(dim=0)))
        return weights, self.thumbnails.mean(dim=0) - x.mean(dim=0) @ weights

    def reconstruction_losses(self, features: Tensor, rows: Tensor) -> Tensor:
        """Squared error of each image (number ``rows``) as decoded from its features, ``[B]``, float64.

        In units of the thumbnails' whole variance, and half of it: a slope of such a loss is that of a log-likelihood.
        """
        weights, bias = self.decoder
        pictures = self.thumbnails[rows]
        scale = 2 * (self.thumbnails - self.thumbnails.mean(dim=0)).square().sum(dim=1).mean()
        missed = (features.double() @ weights + bias - pictures).square().sum(dim=1)
        return missed / scale.clamp(min=torch.finfo(torch.float64).tiny)


def pool(x: Tensor, axis: int) -> Tensor:
    """Features ``[B, d]`` from a layer's input: positions averaged."""
    others = position_axes(x, axis)
    return x.mean(dim=others) if others else x


@torch.no_grad()
def preview(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> Preview:
    """One forward pass of a network in eval mode. Its memory grows by ``[N, d + P]``."""
    device = next(network.parameters()).device
    side = (min(THUMBNAIL, images.shape[2]), min(THUMBNAIL, images.shape[3]))
    with _last_call(network) as last:
        found, pictures = [], []
        for rows in torch.split(images, batch_size):
            batch = rows.to(device)
            network(batch)
            check_rows(last.name, last.x, len(batch))
            found.append(pool(last.x, last.axis))
            pictures.append(F.adaptive_avg_pool2d(batch.double(), side).flatten(1))
    return Preview(last.name, torch.cat(found), labels.to(device), torch.cat(pictures))


class _Last:
    name: str
    axis: int
    x: Tensor


@contextmanager
def _last_call(network: nn.Module) -> Iterator[_Last]:
    last = _Last()

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            last.name, last.axis, last.x = name, channel_axis(module), args[0]

        return hook

    handles = [
        m.register_forward_pre_hook(note(n)) for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    with hooked(handles):
        yield last
