"""Rank correlations with bootstrap intervals: all resamples at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spaces.randomness import numpy_generator

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Ranking:
    """How two predictors rank the same outcomes.

    Attributes:
        tau, rho: Kendall's τ-b and Spearman's ρ of the predictor.
        tau_rival, rho_rival: of the other one.
        lead: the predictor's τ minus the other one's, resampled together.
    """

    tau: Estimate
    rho: Estimate
    tau_rival: Estimate
    rho_rival: Estimate
    lead: Estimate


def rank(predicted: Sequence[float], rival: Sequence[float], outcome: Sequence[float]) -> Ranking:
    """Percentile bootstrap over candidates (Efron & Tibshirani 1993, ch. 13); the same figures for the same numbers.

    Args:
        predicted, rival, outcome: one number per candidate. Where one of ``rival`` is not finite, it is not ranked.
    """
    n = len(outcome)
    drawn = numpy_generator(0, "bootstrap of rank correlations").multinomial(n, np.full(n, 1 / n), RESAMPLES)
    weights = np.vstack([np.ones(n), drawn])
    tau, rho = correlations(np.asarray(predicted), np.asarray(outcome), weights)
    rivals = (np.full(len(weights), math.nan),) * 2
    if all(map(math.isfinite, rival)):
        rivals = correlations(np.asarray(rival), np.asarray(outcome), weights)
    return Ranking(*map(_estimate, (tau, rho, *rivals, tau - rivals[0])))


def correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kendall's τ-b and Spearman's ρ of ``x`` and ``y`` (``[N]``) in every resample, float ``[B]``.

    Both are sums over pairs of candidates, so that a resample is no more than a weight for each of them. NaN where a
    side is constant.

    Args:
        weights: how often each candidate was drawn, ``[B, N]``.
    """
    sx, sy = (np.sign(v[:, None] - v[None, :]) for v in (x, y))
    # Twice the mid-rank, counted from its mean: how many of the resample are below, less how many are above.
    rx, ry = weights @ sx.T, weights @ sy.T

    def over_pairs(signs: np.ndarray) -> np.ndarray:
        return np.asarray(((weights @ signs) * weights).sum(1))

    with np.errstate(invalid="ignore", divide="ignore"):
        tau = over_pairs(sx * sy) / np.sqrt(over_pairs(sx**2) * over_pairs(sy**2))
        rho = (weights * rx * ry).sum(1) / np.sqrt((weights * rx**2).sum(1) * (weights * ry**2).sum(1))
    return tau, rho


def _estimate(values: np.ndarray) -> Estimate:
    """The first value, and the interval that the others span; none where they do not spread, and so say nothing."""
    value, resampled = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not math.isfinite(value) or len(resampled) == 0 or np.ptp(resampled) < 1e-9:
        return Estimate(value)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))
