"""How narrow may a network be? Accuracy against width, from a few small trainings and the data's complexity.

    curve = fit_curve(factors, accuracies, complexity)
    curve.factor_for(0.95, complexity[0])

Nothing here knows what the score is: accuracy, F1 or intersection over union, any in which more is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import least_squares

RIDGE = 1e-2
"""Penalty on the slopes, in squared units of retained share: it decides where data sets are too few for them."""
_POWER_RIDGE = 1e-5  # towards a straight line, where nothing else settles the power: scores that never fall
_POWERS = (0.1, 6.0)
_LADDER = 0.01
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The share of the full network's score that one of ``α`` times its width retains.

    ``ρ(α, c) = 1 − (β0 + β·c)·(log2 1/α)^γ``, after Mishra et al., "CC-Net", ISBI 2019 (arXiv 1901.01578), who
    predict accuracy at several sizes from image complexity; they give no formula, this one is ours.

    Attributes:
        intercept: β0 ≥ 0.
        slopes: β ≥ 0, one per complexity measure.
        power: γ > 0.
        noise: standard deviation of a measured share around the curve, per octave: one octave narrower (α = ½) data
            sets differ little, four octaves narrower they differ four times as much.
        covariance: of the estimates ``(β0, *β, γ)``.
        freedom: degrees of freedom of ``noise``.
        least: the smallest factor that was measured; no narrower one is ever advised.
    """

    intercept: float
    slopes: tuple[float, ...]
    power: float
    noise: float
    covariance: tuple[tuple[float, ...], ...]
    freedom: float
    least: float

    def retained(self, factor: float, complexity: Sequence[float] = ()) -> float:
        """The expected share at width factor α in (0, 1]; 1 at α = 1, never below 0."""
        return max(0.0, 1.0 - self._steepness(complexity) * float(_octaves(factor) ** self.power))

    def interval(self, factor: float, complexity: Sequence[float] = (), level: float = 0.95) -> tuple[float, float]:
        """Ends of the interval that a newly measured share falls into with probability ``level``."""
        octaves = _octaves(factor)
        if octaves == 0:
            return 1.0, 1.0
        gradient = _gradient(octaves, self._features(complexity), self._steepness(complexity), self.power)
        variance = float(gradient @ np.array(self.covariance) @ gradient) + (self.noise * octaves) ** 2
        reach = float(stats.t.ppf(0.5 + level / 2, self.freedom)) * math.sqrt(variance)
        centre = self.retained(factor, complexity)
        return max(0.0, centre - reach), centre + reach

    def factor_for(
        self, share: float, complexity: Sequence[float] = (), max_params: float = 1.0, level: float = 0.95
    ) -> float | None:
        """The smallest width factor whose interval lies above ``share`` and whose parameters are within ``max_params``.

        Args:
            share: of the full network's score, in (0, 1].
            max_params: most parameters, as a share of the full network's.

        Returns:
            A factor in [least, 1]; None where the wanted share needs more parameters than that.
        """
        kept = 1.0
        for step in range(1, math.floor(_octaves(self.least) / _LADDER + 1e-9) + 1):
            factor = 2.0 ** (-step * _LADDER)
            if self.interval(factor, complexity, level)[0] < share:
                break
            kept = factor
        return kept if params_share(kept) <= max_params else None

    def _steepness(self, complexity: Sequence[float]) -> float:
        features = self._features(complexity)
        return float(features @ np.array([self.intercept, *self.slopes]))

    def _features(self, complexity: Sequence[float]) -> _Values:
        if len(complexity) != len(self.slopes):
            raise ValueError(f"{len(complexity)} complexity measures for a curve of {len(self.slopes)}; give as many")
        return np.array([1.0, *complexity])


def fit_curve(
    factors: Sequence[float],
    scores: Sequence[float],
    complexity: Sequence[Sequence[float]],
    data_sets: Sequence[int] | None = None,
    ridge: float = RIDGE,
) -> Curve:
    """Fit a curve to trainings of one network family at several widths, on one data set or several.

    Args:
        factors: width factors α in (0, 1], one a training.
        scores: their scores on held-out images, more is better.
        complexity: the data set's measures ``c``, nonnegative, one row a training; empty rows for a curve without.
        data_sets: which data set each training is of; default: all of one. Each needs a training at α = 1, by
            whose score its others are divided.
        ridge: see :data:`RIDGE`.

    Raises:
        ValueError: lengths differ, a factor is out of bounds, a data set has no full width, or none is narrower.
    """
    sets = [0] * len(factors) if data_sets is None else list(data_sets)
    if not len(factors) == len(scores) == len(complexity) == len(sets):
        raise ValueError("factors, scores, complexity and data_sets differ in length; give one of each per training")
    if not all(0 < f <= 1 for f in factors):
        raise ValueError(f"width factors must lie in (0, 1], got {min(factors)} to {max(factors)}")
    full = _full_scores(factors, scores, sets)
    rows = [i for i, factor in enumerate(factors) if factor < 1]
    if not rows:
        raise ValueError("every training is of full width; add narrower ones")
    octaves = np.array([_octaves(factors[i]) for i in rows])
    shares = np.array([scores[i] / full[sets[i]] for i in rows])
    features = np.array([[1.0, *complexity[i]] for i in rows])
    return _fit(octaves, shares, features, ridge, min(factors))


def params_share(factor: float) -> float:
    """Parameters of a network ``factor`` times as wide, as a share: convolutions have inputs times outputs of them."""
    return factor**2


def factor_for_params(share: float) -> float:
    """The width factor, at most 1, that leaves ``share`` of the parameters."""
    return min(1.0, math.sqrt(share))


def _full_scores(factors: Sequence[float], scores: Sequence[float], sets: Sequence[int]) -> dict[int, float]:
    """The mean score at α = 1, by data set."""
    found: dict[int, float] = {}
    for name in dict.fromkeys(sets):
        at_full = [s for f, s, d in zip(factors, scores, sets, strict=True) if d == name and f == 1]
        if not at_full or not np.mean(at_full) > 0:
            raise ValueError(f"data set {name} has no positive score at full width (factor 1); train the whole network")
        found[name] = float(np.mean(at_full))
    return found


def _fit(octaves: _Values, shares: _Values, features: _Values, ridge: float, least: float) -> Curve:
    slopes = features.shape[1] - 1
    penalty = np.sqrt(np.array([0.0] + [ridge] * slopes + [_POWER_RIDGE]))
    prior = np.array([0.0] * (slopes + 1) + [1.0])

    def residuals(x: _Values) -> _Values:
        errors = (1 - (features @ x[:-1]) * octaves ** x[-1] - shares) / octaves
        return np.concatenate([errors, penalty * (x - prior)])

    def slope_of(x: _Values) -> _Values:
        steepness = features @ x[:-1]
        rows = [_gradient(t, f, b, x[-1]) / t for t, f, b in zip(octaves, features, steepness, strict=True)]
        return np.concatenate([np.array(rows), np.diag(penalty)])

    low = np.array([0.0] * (slopes + 1) + [_POWERS[0]])
    high = np.array([np.inf] * (slopes + 1) + [_POWERS[1]])
    start = np.array([0.02] * (slopes + 1) + [1.5])
    solution = least_squares(residuals, start, jac=slope_of, bounds=(low, high), x_scale="jac", xtol=1e-12, ftol=1e-12)
    x = np.where(solution.x - low < 1e-7, low, solution.x)
    # What lies on a bound is held there: it has no spread to either side.
    free = (x > low) & (x < high)
    jacobian = slope_of(x)[:, free]
    data = jacobian[: len(shares)]
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    freedom = max(1.0, len(shares) - float(np.trace(inverse @ data.T @ data)))
    variance = float(np.square(residuals(x)[: len(shares)]).sum()) / freedom
    covariance = np.zeros((len(x), len(x)))
    covariance[np.ix_(free, free)] = variance * inverse
    return Curve(
        intercept=float(x[0]),
        slopes=tuple(float(v) for v in x[1:-1]),
        power=float(x[-1]),
        noise=math.sqrt(variance),
        covariance=tuple(tuple(float(v) for v in row) for row in covariance),
        freedom=freedom,
        least=least,
    )


def _octaves(factor: float) -> float:
    return -math.log2(factor)


def _gradient(octaves: float, features: _Values, steepness: float, power: float) -> _Values:
    """Of ρ by ``(β0, *β, γ)``, for α < 1."""
    raised = octaves**power
    return np.concatenate([-features * raised, [-steepness * raised * math.log(octaves)]])
