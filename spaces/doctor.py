"""Does removing channels do what it should? Every group is tried before a search may touch it.

A traced graph cannot see channel counts spelled out in a forward pass, nor operations that mix channels without a
layer. So groups are halved for a trial: where the compact network fails or differs from the masked one, the group is
locked, and the reason kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from spaces.groups import Group, Locked
from spaces.layout import Layout
from spaces.surgery import compact, masked

TOLERANCE = 1e-3
"""Largest difference, relative to the largest output: far above rounding, far below a wrong channel."""


def check_groups(network: nn.Module, layout: Layout, shape: tuple[int, int, int]) -> Layout:
    """``layout`` with the groups locked whose removal breaks or changes ``network``.

    One trial of all groups together passes for most networks; only where it fails are the groups tried one by one.
    """
    if not layout.groups or not _trial(network, layout, layout.groups, shape):
        return layout
    sound: list[Group] = []
    locked = list(layout.locked)
    for group in layout.groups:
        fault = _trial(network, layout, (group,), shape)
        if fault:
            locked.append(Locked(group.name, group.size, fault))
        else:
            sound.append(group)
    return replace(layout, groups=tuple(sound), locked=tuple(locked))


@torch.no_grad()
def _trial(network: nn.Module, layout: Layout, groups: Sequence[Group], shape: tuple[int, int, int]) -> str:
    """What goes wrong when ``groups`` lose every other channel; empty when nothing does."""
    kept = {g.name: np.arange(0, g.size, 2) for g in groups}
    device = next(network.parameters()).device
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    expected = masked(network, layout, kept).eval()(images)
    try:
        found = compact(network, layout, kept).eval()(images)
    except Exception as error:
        return f"the forward pass fails without them ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
    if found.shape != expected.shape:
        return f"removing them changes the output's shape to {list(found.shape)}"
    scale = float(expected.abs().max()) or 1.0
    if not float((found - expected).abs().max()) <= TOLERANCE * scale:
        return "removing them is not the same as zeroing them: an operation outside the layers mixes channels"
    return ""
