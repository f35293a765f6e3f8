"""How gates are trained."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.quantity import Measure


@dataclass(frozen=True)
class BarSettings:
    """What is budgeted, and how the gates are trained.

    Attributes:
        measure: the budgeted quantity.
        strength: λ, the weight of (expected quantity / that of the whole network) · barrier. The paper's 1e-5 weighs
            the quantity itself, and so depends on the network's size. Three times the default closed all gates of a
            small network at once, before the push could end.
        speed: gates learn this many times faster than weights: in a short training a location must travel from 0 to
            below −2.4 within a few hundred steps.
        core: share of the widths of a uniform network within the budget that no group is pushed below, rounded up. The
            paper has none. In a training of a few hundred steps whole groups close before the others can show what
            they are worth, and a network does not recover from a bottleneck of a channel or two.
    """

    measure: Measure = "volume"
    strength: float = 0.03
    speed: float = 20.0
    core: float = 0.5
