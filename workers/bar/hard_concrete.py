"""Gates that are exactly zero or one with positive probability, and differentiable in between: hard concrete.

Louizos, Welling and Kingma, "Learning Sparse Neural Networks through L0 Regularization", ICLR 2018 (arXiv 1712.01312),
section 2.2. A gate has one parameter, its location φ = log α.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1

ALIVE = math.log(-LOW / HIGH)
"""Where the expected gate becomes zero: φ = −2.398. A channel is alive above."""


def sample(locations: Tensor, uniform: Tensor) -> Tensor:
    """Gates in [0, 1] from draws of the uniform distribution on (0, 1), both ``[C]``."""
    noise = torch.log(uniform) - torch.log1p(-uniform)
    return _stretched(torch.sigmoid((noise + locations) / TEMPERATURE))


def settled(locations: Tensor) -> Tensor:
    """The gates without noise, ``[C]`` in [0, 1]: what inference uses."""
    return _stretched(torch.sigmoid(locations))


def chance(locations: Tensor) -> Tensor:
    """P(gate > 0) in closed form, ``[C]``."""
    return torch.sigmoid(locations - TEMPERATURE * ALIVE)


def _stretched(values: Tensor) -> Tensor:
    return (values * (HIGH - LOW) + LOW).clamp(0, 1)
