"""A width for the network, from the images' complexity and reference trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.complexity.image import Mean
from workers.complexity.scaling import Curve, factor_for_params, params_share


@dataclass(frozen=True)
class WidthAdvice:
    """How narrow a network may be to keep a wanted share of its accuracy.

    Attributes:
        keep: the wanted share of the full network's accuracy.
        max_params: most parameters, as a share of the full network's.
        factor: of the full network's width; None where the wanted share does not fit into ``max_params``.
        params: share of parameters at ``factor``, or at the budget where ``factor`` is None.
        retained, low, high: the share of accuracy to expect there, with its 95% interval.
    """

    keep: float
    max_params: float
    factor: float | None
    params: float
    retained: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return dict(vars(self))


def advise_width(
    curve: Curve, measures: tuple[str, ...], pictures: Mapping[str, Mean], keep: float, max_params: float
) -> WidthAdvice:
    """The smallest factor that ``curve`` allows.

    Args:
        measures: the complexity measures that the curve was fitted to.
        pictures: their means.
    """
    complexity = [pictures[name].value for name in measures]
    factor = curve.factor_for(keep, complexity, max_params)
    shown = factor_for_params(max_params) if factor is None else factor
    low, high = curve.interval(shown, complexity)
    return WidthAdvice(
        keep, max_params, factor, params_share(shown), curve.retained(shown, complexity), low, min(high, 1.0)
    )
