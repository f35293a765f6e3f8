"""From a layer's inputs to the channels of the groups that it reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spaces.criteria.members import per_channel
from spaces.groups import Group, Member
from spaces.layout import Layout

COMPENSATION_RIDGE = 1e-6
"""Of a covariance, relative to its mean variance: keeps the inverse of a singular one finite."""

SEPARATION_RIDGE = 1e-3
"""As above, for scatter within classes: there are often fewer images than channels."""


def on_channels(values: Tensor, group: Group, member: Member) -> Tensor:
    """A layer's values ``[inputs, …]``, averaged over the inputs of each of the group's channels: ``[size, …]``."""
    return per_channel(values[torch.from_numpy(member.positions)], member, group.size)


def sum_on_channels(values: Tensor, group: Group, member: Member, dim: int = 0) -> Tensor:
    """A layer's values, summed along ``dim`` over the inputs of each of the group's channels."""
    positions, channels = torch.from_numpy(member.positions), torch.from_numpy(member.channels)
    shape = list(values.shape)
    shape[dim] = group.size
    return values.new_zeros(shape).index_add_(dim, channels, values.index_select(dim, positions))


def blocks_of(layout: Layout) -> dict[str, int]:
    """Per reader, how many inputs side by side are the pixels of one channel: one, but for a layer behind a flatten.

    One as well if channels do not lie in equal blocks there: each input is then treated as a channel of its own.
    """
    blocks: dict[str, int] = {}
    inputs = {layer.name: layer.inputs for layer in layout.layers}
    for group in layout.groups:
        for m in group.consumers():
            found = _block(m)
            if blocks.setdefault(m.layer, found) != found or inputs.get(m.layer, 0) % found:
                blocks[m.layer] = 1
    return blocks


def _block(member: Member) -> int:
    counts = np.bincount(member.channels)
    size = int(counts.max())
    places = member.positions.reshape(-1, size) if (counts == size).all() else np.empty((0, 1))
    owners = member.channels.reshape(places.shape) if len(places) else places
    regular = len(places) and (places // size == places[:, :1] // size).all() and (owners == owners[:, :1]).all()
    return size if regular else 1


def conditional_variance(covariance: Tensor) -> Tensor:
    """``Σ_ii − Σ_iS (Σ_SS + εI)⁻¹ Σ_Si`` with S all but i, for every i: float64 ``[C]``, ≥ 0."""
    ridge = COMPENSATION_RIDGE * covariance.diagonal().mean()
    if ridge <= 0:
        return torch.zeros(len(covariance), dtype=torch.float64)
    inverse = _inverse(covariance, ridge)
    left: Tensor = 1 / inverse.diagonal() - ridge
    return left.clamp(min=0)


def class_separation(products: Tensor, class_sums: Tensor) -> Tensor:
    """By what share ``J = tr((Σ_w + εI)⁻¹ Σ_b)`` falls when a channel is left out, for every channel: ``[C]``, ≥ 0.

    With ``P`` the inverse, leaving out i takes ``p_i p_iᵀ / P_ii`` from it, hence ``p_iᵀ Σ_b p_i / P_ii`` from J.

    Args:
        products: sums over images of products of all pairs of channels and a constant one, ``[C+1, C+1]``.
        class_sums: sums over each class's images of the same, ``[classes, C+1]``.
    """
    count = products[-1, -1]
    present = class_sums[class_sums[:, -1] > 0]
    share = present[:, -1:] / count
    away = (present[:, :-1] / present[:, -1:] - products[-1:, :-1] / count) * share.sqrt()
    raw = present[:, :-1] / present[:, -1:].sqrt()
    within = (products[:-1, :-1] - raw.T @ raw) / count
    ridge = SEPARATION_RIDGE * (within.diagonal().mean() + away.square().sum(dim=0).mean())
    if ridge <= 0:
        return torch.zeros(len(within), dtype=torch.float64)
    inverse = _inverse(within, ridge)
    seen = away @ inverse
    total = (seen * away).sum()
    fall = seen.square().sum(dim=0) / inverse.diagonal()
    return fall / total if total > 0 else torch.zeros_like(fall)


def _inverse(covariance: Tensor, ridge: Tensor) -> Tensor:
    regular = covariance + ridge * torch.eye(len(covariance), dtype=torch.float64)
    return torch.cholesky_inverse(torch.linalg.cholesky(regular))
