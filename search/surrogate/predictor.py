"""Trained accuracy foretold from trainings, and by cross-validation how well.

The mean of two regressions that err in different ways (benchmarks/predictor.py prints each): a Gaussian process on the
few inputs that tell most, which extrapolates and knows its doubts (Rasmussen & Williams, "Gaussian Processes for
Machine Learning", 2006, §2.2), and extremely randomised trees on all that is known, which take no harm from inputs that
tell nothing (Geurts, Ernst & Wehenkel, Machine Learning 63, 2006).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from threadpoolctl import ThreadpoolController

from search.surrogate.scale import accuracy_of, log_odds, sampling_variance

FEWEST = 5
"""Trainings below which nothing is foretold."""

FOLDS = 5
"""Of the cross-validation; dealt out in turn, so that early and late trainings are in each."""

PRIOR = 5.0
"""Trainings' worth of belief that the process's own uncertainty is right, before its record corrects it."""

TREES, TRIED = 50, 0.3
"""Trees, and the share of inputs that each split tries: fewer make the trees more different."""

NORMAL_90 = 1.6449


@dataclass(frozen=True)
class Forecast:
    """Trained accuracy as foretold, on the scale of :mod:`search.surrogate.scale`.

    Attributes:
        mean: of the accuracy that a training will *show*: float ``[N]``.
        deviation: of the same, its measuring noise included, and wide enough for the 90% interval that is made of it.
        model: deviation of the accuracy *behind* it alone, in the mean square.
    """

    mean: np.ndarray
    deviation: np.ndarray
    model: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """Median forecast, in (0, 1)."""
        return accuracy_of(self.mean)

    @property
    def low(self) -> np.ndarray:
        """Lower end of the 90% interval."""
        return accuracy_of(self.mean - NORMAL_90 * self.deviation)

    @property
    def high(self) -> np.ndarray:
        """Upper end of the 90% interval."""
        return accuracy_of(self.mean + NORMAL_90 * self.deviation)


class Predictor:
    """Fitted to trainings; immutable afterwards.

    Attributes:
        left_out: what it says of each training when fitted to the other folds.
        tau: Kendall's rank correlation of :attr:`left_out` with the trained accuracies.
    """

    def __init__(self, few: np.ndarray, everything: np.ndarray, accuracies: np.ndarray, images: int) -> None:
        """Fit to trained ``accuracies`` (``[N]``, on ``images`` images).

        Args:
            few: inputs for the process, float ``[N, D]``, finite.
            everything: inputs for the trees, float ``[N, E]``, finite.

        Raises:
            ValueError: fewer than :data:`FEWEST` trainings.
        """
        if len(few) < FEWEST:
            raise ValueError(f"a forecast needs at least {FEWEST} trainings, there are {len(few)}")
        self._images = images
        y = log_odds(accuracies, images)
        self._shift, self._unit = float(y.mean()), max(float(y.std()), 1e-3)
        z = (y - self._shift) / self._unit
        noise = sampling_variance(y, images) / self._unit**2
        self._model = _fit(few, everything, z, noise)
        mean, variance = np.empty(len(z)), np.empty(len(z))
        for fold in range(FOLDS):
            out = np.arange(len(z)) % FOLDS == fold
            others = _fit(few[~out], everything[~out], z[~out], noise[~out])
            mean[out], variance[out] = others(few[out], everything[out])
        misses = np.abs(z - mean) / np.sqrt(variance + self._model.white + noise)
        # Improvement is an average over what may be; a tail that one bad miss stretched would make it seek wild bets.
        self._doubt = _spread(misses)
        self._caution = max(self._doubt, _reach(misses))
        self.left_out = self._forecast(mean, variance)
        self.tau = _tau(self.left_out.mean, y)

    def predict(self, few: np.ndarray, everything: np.ndarray) -> Forecast:
        """Forecasts for inputs ``[M, D]`` and ``[M, E]``."""
        return self._forecast(*self._model(few, everything))

    def _forecast(self, mean: np.ndarray, variance: np.ndarray) -> Forecast:
        odds = self._shift + self._unit * mean
        shown = self._unit**2 * (variance + self._model.white) + sampling_variance(odds, self._images)
        return Forecast(odds, self._caution * np.sqrt(shown), self._doubt * self._unit * np.sqrt(variance))


def _spread(misses: np.ndarray) -> float:
    """Factor on deviations that makes the mean square of left-out misses (in deviations, float ``[N]``) about 1.

    Fitted to a few dozen points a process is too sure of itself.
    """
    return math.sqrt((PRIOR + float(np.square(misses).sum())) / (PRIOR + len(misses)))


def _reach(misses: np.ndarray) -> float:
    """Factor on deviations by which 90% of left-out misses lie in the 90% interval.

    As split conformal prediction counts them (Lei et al., JASA 113, 2018, §2.2): misses have longer tails than a normal
    distribution.
    """
    count = len(misses)
    return float(np.sort(misses)[min(math.ceil(0.9 * (count + 1)), count) - 1] / NORMAL_90)


@dataclass(frozen=True)
class _Model:
    """Mean and variance (without noise) of standardised log-odds; ``white`` is the variance between two trainings."""

    process: GaussianProcessRegressor
    trees: ExtraTreesRegressor
    standard: Callable[[np.ndarray], np.ndarray]
    white: float

    def __call__(self, few: np.ndarray, everything: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with _one_thread():
            mean, deviation = self.process.predict(self.standard(few), return_std=True)
        trees = self.trees.predict(everything)
        return (mean + trees) / 2, np.maximum(np.square(deviation) - self.white, 1e-9)


def _fit(few: np.ndarray, everything: np.ndarray, y: np.ndarray, noise: np.ndarray) -> _Model:
    """The process with the most likely hyper-parameters, and the trees; the same from the same, on any machine's cores.

    The kernel is a linear part (accuracy grows with size, all the way) plus a smooth one; the noise of each training is
    at least that of measuring it on so many images.
    """
    centre, spread = few.mean(0), few.std(0)
    used = spread > 1e-9

    def standard(inputs: np.ndarray) -> np.ndarray:
        return np.asarray((inputs - centre)[:, used] / spread[used])

    dimensions = max(int(used.sum()), 1)
    linear = ConstantKernel(0.5 / dimensions, (1e-4 / dimensions, 1e1 / dimensions)) * DotProduct(1.0, "fixed")
    smooth = ConstantKernel(0.5, (1e-2, 1e1)) * RBF(float(np.sqrt(dimensions)), (0.3, 30.0 * np.sqrt(dimensions)))
    kernel = (linear + smooth) + WhiteKernel(0.05, (1e-3, 1.0))
    with _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound that is reached is a bound, not a failure
        process = GaussianProcessRegressor(kernel, alpha=noise, n_restarts_optimizer=0).fit(standard(few), y)
    trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=TRIED, random_state=0).fit(everything, y)
    return _Model(process, trees, standard, float(process.kernel_.k2.noise_level))


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looking for them takes longer than a forecast


def _one_thread() -> AbstractContextManager[object]:
    """Sums in another order are other numbers, and the number of cores must not decide a search."""
    limits: AbstractContextManager[object] = _libraries().limit(limits=1)
    return limits


def _tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's τ-b; NaN where one side is constant."""
    return float(stats.kendalltau(first, second).statistic)
