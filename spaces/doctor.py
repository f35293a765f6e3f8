"""Does removing channels do what it should? Every group is tried before a search may touch it.

A traced graph cannot see channel counts spelled out in a forward pass, nor operations that mix channels without a
layer. So channels are removed for a trial: where the compact network fails or differs from the masked one, the group
is locked, and the reason kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from spaces.groups import Group, Locked
from spaces.layout import Kept, Layout
from spaces.surgery import compact, masked

TOLERANCE = 1e-3
"""Largest difference, relative to what varies between images: far above rounding, far below a wrong channel."""

IMAGES = 4


Guard = Callable[[], AbstractContextManager[object]]
"""Put around the forward pass of a trial: a time limit, say, where the network is not to be trusted."""


@dataclass(frozen=True)
class _Fault:
    """What went wrong in a trial; ``crash`` where the forward pass gave nothing that could be compared."""

    text: str
    crash: bool = False


@dataclass(frozen=True)
class _Trials:
    network: nn.Module
    layout: Layout
    shape: tuple[int, int, int]
    guard: Guard
    lightly: bool

    def together(self, groups: Sequence[Group]) -> _Fault | None:
        """What goes wrong when ``groups`` are thinned together, all of them and every second one.

        Two groups that must stay of equal size would pass wherever they are thinned alike.
        """
        if self.lightly:
            return self._light(groups)
        fault = self._run(_thinned(groups)) or self._run(_thinned(groups[1::2]))
        return self._unless_only_narrow(fault, groups)

    def alone(self, group: Group) -> _Fault | None:
        """What goes wrong when ``group`` is thinned; to one channel too, since halves by count may fit by rounding."""
        if self.lightly:
            return self._light((group,))
        last = {group.name: np.array([group.size - 1])}
        fault = self._run(_thinned((group,))) or self._run(last)
        return self._unless_only_narrow(fault, (group,))

    def _unless_only_narrow(self, fault: _Fault | None, groups: Sequence[Group]) -> _Fault | None:
        """A network that only crashes where it gets too narrow has sound groups: its narrow candidates fail alone."""
        if fault is None or not fault.crash:
            return fault
        return fault if self._light(groups) else None

    def _light(self, groups: Sequence[Group]) -> _Fault | None:
        """What goes wrong when one or two channels are left out; one alone may fit by rounding."""
        trials = [{g.name: np.arange(1, g.size) for g in some} for some in (groups, groups[::2], groups[1::2])]
        trials.append({g.name: np.arange(g.size - 1) for g in groups})
        trials.append({g.name: np.arange(min(2, g.size - 1), g.size) for g in groups})
        return next(filter(None, map(self._run, trials)), None)

    @torch.no_grad()
    def _run(self, kept: Kept) -> _Fault | None:
        """What goes wrong when only ``kept`` stays."""
        device = next(self.network.parameters()).device
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(IMAGES, *self.shape, generator=generator, dtype=torch.float64).to(device)
        try:
            with self.guard():
                expected = _awake(masked(self.network, self.layout, kept))(images)
                found = _awake(compact(self.network, self.layout, kept))(images)
        except Exception as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            return _Fault(f"the forward pass fails without them ({text})", crash=True)
        if found.shape != expected.shape:
            return _Fault(f"removing them changes the output's shape to {list(found.shape)}")
        if not found.isfinite().all():
            return _Fault("the output is not a finite number without them", crash=True)
        spread = float((expected - expected.mean(dim=0)).abs().max())
        rounding = 1e-12 * float(expected.abs().max())
        if not float((found - expected).abs().max()) <= TOLERANCE * spread + rounding:
            return _Fault(
                "removing them is not the same as zeroing them: an operation outside the layers mixes channels"
            )
        return None


def check_groups(
    network: nn.Module,
    layout: Layout,
    shape: tuple[int, int, int],
    guard: Guard = nullcontext,
    lightly: bool = False,
) -> Layout:
    """``layout`` with the groups locked whose removal breaks or changes ``network``.

    Trials of many groups together pass for most networks; only where they fail are the groups tried one by one.

    Args:
        guard: put around each trial.
        lightly: leave out no more than two channels of a group, where narrow networks would end this process.
    """
    trials = _Trials(network, layout, shape, guard, lightly)
    if not layout.groups or trials.together(layout.groups) is None:
        return layout
    sound: list[Group] = []
    locked = list(layout.locked)
    for group in layout.groups:
        fault = trials.alone(group)
        if fault is not None:
            locked.append(Locked(group.name, group.size, fault.text))
        else:
            sound.append(group)
    fault = trials.together(sound)
    if fault is not None:
        locked += [Locked(group.name, group.size, f"together with other groups: {fault.text}") for group in sound]
        sound = []
    return replace(layout, groups=tuple(sound), locked=tuple(locked))


def _thinned(groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """A random selection that leaves out at least one channel of every group."""
    rng = np.random.default_rng(0)
    return {g.name: np.sort(rng.permutation(g.size)[: rng.integers(1, g.size)]) for g in groups}


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
