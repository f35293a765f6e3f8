"""The widths that a search starts from: where complexity scaling expects accuracy to begin to fall.

After Mishra et al., "CC-Net", ISBI 2019 (arXiv 1901.01578): from the images' complexity to one factor on all widths.
"""

from __future__ import annotations

from workers.complexity.image import measure_images
from workers.complexity.width_reference import CURVE, MEASURES
from workers.data import Images

KEPT = (0.99, 0.97, 0.95, 0.9, 0.8)
"""Shares of the base network's accuracy, for each of which there is a narrowest width."""

PICTURES = 256
"""Training images whose complexity is measured; they stand in random order."""


def starting_widths(train: Images) -> tuple[float, ...]:
    """Width factors in (0, 1], widest first, none twice; empty where no narrower network can be advised."""
    means = measure_images(train.images[:PICTURES]).means() if MEASURES else {}
    complexity = [means[name].value for name in MEASURES]
    factors = [CURVE.factor_for(share, complexity) for share in KEPT]
    return tuple(sorted({round(f, 3) for f in factors if f is not None and f < 1}, reverse=True))
