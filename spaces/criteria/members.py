"""From what a group's members hold to one score per channel: the part that weight criteria share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from spaces.groups import Group, Member


def filters(network: nn.Module, member: Member) -> Tensor:
    """A producer's filters that make the group's channels, float64 ``[positions, weights per filter]`` on the CPU.

    Biases are left out, as in the papers.
    """
    weight = network.get_submodule(member.layer).weight
    assert isinstance(weight, Tensor)
    rows = weight.detach().to("cpu", torch.float64)[torch.from_numpy(member.positions)]
    return rows.reshape(len(member.positions), -1)


def per_channel(values: Tensor, member: Member, size: int) -> Tensor:
    """Values of a member's positions, ``[positions, …]``, averaged for each channel: ``[size, …]``."""
    channels = torch.from_numpy(member.channels)
    total = values.new_zeros(size, *values.shape[1:]).index_add_(0, channels, values)
    count = torch.bincount(channels, minlength=size).clamp(min=1)
    return total / count.reshape(-1, *[1] * (values.dim() - 1))


def level(scores: Sequence[Tensor]) -> Tensor:
    """One score from several members' (each ``[size]``): each divided by its mean, then averaged.

    So that a layer with large weights does not outvote the others (Fang et al., "DepGraph", CVPR 2023). A single
    member's scores stay as they are; a member whose scores are all zero adds nothing.
    """
    if len(scores) == 1:
        return scores[0]
    means = [s.mean() for s in scores]
    return torch.stack([s / m if m > 0 else s for s, m in zip(scores, means, strict=True)]).mean(dim=0)


def score_filters(group: Group, network: nn.Module, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """Score a group by its producers' filters: ``measure`` maps ``[n, d]`` filters to ``[n]`` values ≥ 0."""
    return level([per_channel(measure(filters(network, m)), m, group.size) for m in group.producers()])
