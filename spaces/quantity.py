"""A budgeted quantity as a polynomial of the widths: counted exactly, differentiable where widths are expected ones.

Every quantity of a network of groups is of second degree: a layer's weights number (inputs) × (outputs), both linear in
the widths. So a few counts determine it everywhere, and the same formula serves whole widths and expectations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from spaces.layout import Layout

Measure = Literal["volume", "macs", "params", "bytes"]
MEASURES: tuple[str, ...] = get_args(Measure)


def volume(layout: Layout, widths: np.ndarray) -> int:
    """Activation volume at ``widths`` (int ``[G]``): values per image that convolutions and linear layers write."""
    outputs = layout.counts(widths)[:, 1]
    positions = [0 if layer.kind == "norm" else layer.positions for layer in layout.layers]
    return int(outputs @ np.array(positions, dtype=np.int64))


@dataclass(frozen=True)
class Quantity:
    """``constant + linear·w + wᵀ quadratic w`` at widths ``w``; exact in whole numbers.

    Attributes:
        linear: int64 ``[G]``.
        quadratic: int64 ``[G, G]``, upper triangular.
    """

    constant: int
    linear: np.ndarray
    quadratic: np.ndarray

    def count(self, widths: np.ndarray) -> int:
        """The quantity at ``widths``, int ``[G]``."""
        return self.constant + int(self.linear @ widths + widths @ self.quadratic @ widths)

    def expected(self, widths: Tensor) -> Tensor:
        """The quantity at expected ``widths``, float ``[G]``: a scalar with a gradient.

        It is the quantity's expectation where channels live independently of each other, but for layers that both read
        and make the same group (their width squared is taken at its mean).
        """
        linear = torch.as_tensor(self.linear, dtype=widths.dtype, device=widths.device)
        quadratic = torch.as_tensor(self.quadratic, dtype=widths.dtype, device=widths.device)
        total: Tensor = self.constant + linear @ widths + widths @ quadratic @ widths
        return total


def make_quantity(layout: Layout, measure: Measure) -> Quantity:
    """The polynomial of ``measure`` over the groups of ``layout``, from counts at no, one and two channels.

    Raises:
        ValueError: no such measure.
    """
    if measure not in MEASURES:
        raise ValueError(f"no quantity is called {measure!r}; there are {', '.join(MEASURES)}")

    def count(widths: np.ndarray) -> int:
        return volume(layout, widths) if measure == "volume" else int(getattr(layout.cost(widths), measure))

    one = np.eye(len(layout.groups), dtype=np.int64)
    constant = count(np.zeros(len(one), dtype=np.int64))
    single = np.array([count(w) for w in one], dtype=np.int64)
    squares = (np.array([count(2 * w) for w in one], dtype=np.int64) - 2 * single + constant) // 2
    linear = single - constant - squares
    quadratic = np.diag(squares)
    for i in range(len(one)):
        for j in range(i + 1, len(one)):
            quadratic[i, j] = count(one[i] + one[j]) - single[i] - single[j] + constant
    return Quantity(constant, linear, quadratic)
