"""Does removing channels do what it should? Every group is tried before a search may touch it.

A traced graph cannot see channel counts spelled out in a forward pass, nor operations that mix channels without a
layer. So channels are removed for a trial: where the compact network fails or differs from the masked one, the group
is locked, and the reason kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from spaces.groups import Group, Locked
from spaces.layout import Kept, Layout
from spaces.surgery import compact, masked

TOLERANCE = 1e-3
"""Largest difference, relative to what varies between images: far above rounding, far below a wrong channel."""

IMAGES = 4


def check_groups(network: nn.Module, layout: Layout, shape: tuple[int, int, int]) -> Layout:
    """``layout`` with the groups locked whose removal breaks or changes ``network``.

    Trials of many groups together pass for most networks; only where they fail are the groups tried one by one.
    """
    if not layout.groups or not _fault(network, layout, layout.groups, shape):
        return layout
    sound: list[Group] = []
    locked = list(layout.locked)
    for group in layout.groups:
        fault = _fault_alone(network, layout, group, shape)
        if fault:
            locked.append(Locked(group.name, group.size, fault))
        else:
            sound.append(group)
    fault = _fault(network, layout, sound, shape)
    if fault:
        locked += [Locked(group.name, group.size, f"together with other groups: {fault}") for group in sound]
        sound = []
    return replace(layout, groups=tuple(sound), locked=tuple(locked))


def _fault(network: nn.Module, layout: Layout, groups: Sequence[Group], shape: tuple[int, int, int]) -> str:
    """What goes wrong when ``groups`` are thinned together, all of them and every second one.

    Two groups that must stay of equal size would pass wherever they are thinned alike.
    """
    return _trial(network, layout, _thinned(groups), shape) or _trial(network, layout, _thinned(groups[1::2]), shape)


def _fault_alone(network: nn.Module, layout: Layout, group: Group, shape: tuple[int, int, int]) -> str:
    """What goes wrong when ``group`` is thinned; down to one channel too, since halves by count may fit by rounding."""
    last = {group.name: np.array([group.size - 1])}
    return _trial(network, layout, _thinned((group,)), shape) or _trial(network, layout, last, shape)


def _thinned(groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """A random selection that leaves out at least one channel of every group."""
    rng = np.random.default_rng(0)
    return {g.name: np.sort(rng.permutation(g.size)[: rng.integers(1, g.size)]) for g in groups}


@torch.no_grad()
def _trial(network: nn.Module, layout: Layout, kept: Kept, shape: tuple[int, int, int]) -> str:
    """What goes wrong when only ``kept`` stays; empty when nothing does."""
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, *shape, generator=generator, dtype=torch.float64).to(device)
    expected = _awake(masked(network, layout, kept))(images)
    try:
        found = _awake(compact(network, layout, kept))(images)
    except Exception as error:
        return f"the forward pass fails without them ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
    if found.shape != expected.shape:
        return f"removing them changes the output's shape to {list(found.shape)}"
    spread = float((expected - expected.mean(dim=0)).abs().max())
    rounding = 1e-12 * float(expected.abs().max())
    if not float((found - expected).abs().max()) <= TOLERANCE * spread + rounding:
        return "removing them is not the same as zeroing them: an operation outside the layers mixes channels"
    return ""


def _awake(network: nn.Module) -> nn.Module:
    """In float64, with batch norms on the statistics of their batch.

    In untrained networks, or with most channels gone, signals fade on their way: what does not reach the output
    cannot be compared there.
    """
    network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.train()
    return network
