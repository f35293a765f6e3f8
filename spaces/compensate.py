"""Pruning with compensation: what reads removed channels makes up for them from the channels that stay.

After Xie et al., "Pruning with Compensation", 2021 (arXiv 2108.13728): of all weights for the inputs S that stay, those
whose output is nearest to the old one in the mean square are ``W' = W Σ_{:,S} Σ_SS⁻¹``, with the bias
``b' = b + W μ − W' μ_S``. Here a ridge λ draws W' to the weights that stay, not to zero: the inverse is regular,
nothing changes where nothing goes, and of much ridge plain pruning is left. ``Σ_λ = Σ + λ I`` stands where Σ stood:
``W' = W Σ_λ{:,S} Σ_λSS⁻¹``. The base network's moments serve every candidate.

No parameter is added. A layer without a bias whose output goes to batch norms needs none: they take its mean away.
Any other without a bias has the best fit through the origin, with second moments ``Σ + μ μᵀ`` in place of Σ: what it
loses against a fit with a bias is the part of the output's mean that the inputs that stay cannot give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spaces.input_moments import Inputs
from spaces.layout import Kept, Layout

RIDGE = 0.1
"""Relative to the mean variance of a layer's inputs. Moments are the base network's; in a candidate, layers further up
have lost channels too, and a fit that leans less on small variances suffers less from it (benchmarks/compensation.py).
"""


@dataclass(frozen=True)
class Compensation:
    """All that the solutions for one network have in common: what remains is one Cholesky factor a fit."""

    layout: Layout
    fits: tuple[_Fit, ...]

    @torch.no_grad()
    def apply(self, small: nn.Module, kept: Kept) -> None:
        """Change ``small``, which is ``compact(network, layout, kept)``, in place: what lost inputs makes up for them.

        Raises:
            torch.linalg.LinAlgError: the moments are not finite, or singular without a ridge.
        """
        alive = self.layout.alive(kept)
        for fit in self.fits:
            stays = alive[fit.inputs]
            if not stays.all():
                rows = torch.from_numpy(np.flatnonzero(alive[fit.outputs]))
                weights, shifts = fit.solve(np.flatnonzero(stays), rows)
                _install(small, fit.layers, weights, shifts)


@dataclass(frozen=True)
class _Fit:
    """Layers that read alike and are fitted alike; their weights are rows ``[R, D]``, one below the other.

    Attributes:
        layers: names, and how many rows each output has.
        inputs: by entry, its channel (see :attr:`spaces.layout.Layout.owners`).
        outputs: likewise by row.
        moments: Σ or second moments, float64 ``[D, D]``; ``None`` to change nothing but biases.
        ridge: λ.
        mean: float64 ``[D]``.
        target: ``W Σ_λ``, float64 ``[R, D]``; ``W`` without moments.
        level: ``W μ``, float64 ``[R]``.
    """

    layers: tuple[tuple[str, int], ...]
    inputs: np.ndarray
    outputs: np.ndarray
    moments: np.ndarray | None
    ridge: float
    mean: Tensor
    target: Tensor
    level: Tensor

    def solve(self, kept: np.ndarray, rows: Tensor) -> tuple[Tensor, Tensor]:
        """New weights ``[rows, kept]`` and what their biases gain ``[rows]``."""
        entries = torch.from_numpy(kept)
        weights = self.target.index_select(0, rows).index_select(1, entries)
        if self.moments is not None:
            within = torch.from_numpy(self.moments.take(kept, axis=0).take(kept, axis=1))
            within.diagonal().add_(self.ridge)
            weights = torch.cholesky_solve(weights.T, torch.linalg.cholesky(within)).T
        return weights, self.level[rows] - weights @ self.mean[entries]


def make_compensation(
    network: nn.Module, layout: Layout, moments: Sequence[Inputs], ridge: float = RIDGE
) -> Compensation:
    """The compensation of ``network``.

    Args:
        layout: the one ``network`` was traced for.
        moments: what its layers read (see :func:`spaces.input_moments.measure_inputs`).
        ridge: λ, relative to the mean variance of the inputs; at 0 the inputs that stay must not be redundant.
    """
    fits = []
    for inputs in moments:
        for centred in (True, False):
            names = [name for name in inputs.readers if _centred(network.get_submodule(name), name, inputs) == centred]
            if names:
                fits.append(_fit(names, network, layout, inputs, centred, ridge))
    return Compensation(layout, tuple(fits))


def _centred(module: nn.Module, name: str, inputs: Inputs) -> bool:
    return module.bias is not None or name in inputs.absorbed


def _fit(names: Sequence[str], network: nn.Module, layout: Layout, inputs: Inputs, centred: bool, ridge: float) -> _Fit:
    entries = len(inputs.mean)
    layers, rows, outputs = [], [], []
    always = len(layout.alive({})) - 1
    for name in names:
        weight = network.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        each = weight.detach().to("cpu", torch.float64).reshape(len(weight), entries, -1).transpose(1, 2)
        layers.append((name, each.shape[1]))
        rows.append(each.reshape(-1, entries))
        owners = layout.owners.get((name, "out"), np.full(len(weight), always))
        outputs.append(owners.repeat(each.shape[1]))
    stacked, mean = torch.cat(rows), torch.tensor(inputs.mean)
    matrix, scaled, target = inputs.covariance, 0.0, stacked
    if matrix is not None:
        matrix = matrix if centred else matrix + np.outer(inputs.mean, inputs.mean)
        trace = float(matrix.trace())
        scaled = ridge * trace / entries if trace > 0 else 1.0  # where nothing varies, any ridge will do
        target = stacked @ torch.tensor(matrix) + scaled * stacked
    channels = layout.owners[names[0], "in"][:: inputs.pixels].repeat(inputs.taps)
    return _Fit(tuple(layers), channels, np.concatenate(outputs), matrix, scaled, mean, target, stacked @ mean)


def _install(small: nn.Module, layers: Sequence[tuple[str, int]], weights: Tensor, shifts: Tensor) -> None:
    """Deal the rows out to the layers of the compact network."""
    start = 0
    for name, each in layers:
        module = small.get_submodule(name)
        assert isinstance(module, nn.Conv2d | nn.Linear)
        outputs = len(module.weight)
        own = slice(start, start + outputs * each)
        shaped = weights[own].reshape(outputs, each, -1).transpose(1, 2)
        module.weight.copy_(shaped.reshape(module.weight.shape))
        if module.bias is not None:
            module.bias += shifts[own].view(outputs, each).sum(dim=1).to(module.bias)
        start = own.stop
