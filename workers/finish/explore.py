"""Settings of training drawn from ranges, and changed a little: the exploration of population-based training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from workers.train import TrainSettings

FACTORS = (0.8, 1.2)
RESAMPLE = 0.25
"""Probability that a setting is drawn anew instead of multiplied by a factor."""

LOGARITHMIC = frozenset({"learning_rate", "weight_decay", "temperature"})
"""Settings whose ratios matter; drawn evenly by logarithm where the range allows."""

Ranges = Mapping[str, tuple[float, float]]


def sample(settings: TrainSettings, ranges: Ranges, rng: np.random.Generator) -> TrainSettings:
    """``settings`` with a value out of its range for each setting of ``ranges``."""
    drawn = {name: _draw(name, ranges[name], rng) for name in sorted(ranges)}
    return replace(settings, **drawn)  # type: ignore[arg-type]


def explore(settings: TrainSettings, ranges: Ranges, rng: np.random.Generator) -> TrainSettings:
    """``settings`` with each setting of ``ranges`` multiplied by a factor or, more rarely, drawn anew.

    Jaderberg et al. 2017, arXiv 1711.09846, section 4 (perturb, resample). What leaves its range is set to its end.
    """
    changed: dict[str, float] = {}
    for name in sorted(ranges):
        low, high = ranges[name]
        if rng.random() < RESAMPLE:
            changed[name] = _draw(name, ranges[name], rng)
        else:
            factor = FACTORS[int(rng.integers(len(FACTORS)))]
            changed[name] = min(max(getattr(settings, name) * factor, low), high)
    return replace(settings, **changed)  # type: ignore[arg-type]


def _draw(name: str, ends: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = ends
    if name in LOGARITHMIC and low > 0:
        return float(min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high))
    return float(rng.uniform(low, high))
