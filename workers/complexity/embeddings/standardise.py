"""One scale for all axes: volumes and distances are not invariant to it."""

from __future__ import annotations

from torch import Tensor


def standardise(features: Tensor) -> Tensor:
    """Every axis of ``[N, D]`` at mean 0 and (population) deviation 1, float32; constant axes are 0."""
    x = features.double()
    x = x - x.mean(0)
    deviation = x.square().mean(0).sqrt()
    # What is left of a constant after its mean is taken off is rounding.
    constant = deviation <= 1e-12 * features.double().abs().amax(0)
    return (x / deviation.masked_fill(constant, 1.0)).masked_fill(constant, 0.0).float()
