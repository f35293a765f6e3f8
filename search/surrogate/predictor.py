"""A Gaussian process that foretells trained accuracy, and says by cross-validation how well.

Rasmussen & Williams, "Gaussian Processes for Machine Learning" (2006), §2.2.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats
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

NORMAL_90 = 1.6449


@dataclass(frozen=True)
class Forecast:
    """Trained accuracy as foretold, on the scale of :mod:`search.surrogate.scale`.

    Attributes:
        mean, deviation: of the accuracy that a training will *show*, its measuring noise included: float ``[N]``.
        model: deviation of the accuracy *behind* it alone.
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

    The kernel is a linear part (accuracy grows with size and with the probe's accuracy, all the way) plus a smooth one,
    over standardised inputs; the noise of each training is at least that of measuring it on so many images.

    Attributes:
        left_out: what it says of each training when fitted to the other folds.
        tau: Kendall's rank correlation of :attr:`left_out` with the trained accuracies.
        error: root mean square of what :attr:`left_out` is off, in log-odds.
    """

    def __init__(self, inputs: np.ndarray, accuracies: np.ndarray, images: int) -> None:
        """Fit to ``inputs`` (float ``[N, D]``, finite) and trained ``accuracies`` (``[N]``, on ``images`` images).

        Raises:
            ValueError: fewer than :data:`FEWEST` trainings.
        """
        if len(inputs) < FEWEST:
            raise ValueError(f"a forecast needs at least {FEWEST} trainings, there are {len(inputs)}")
        self._images = images
        self._centre, self._spread = inputs.mean(0), inputs.std(0)
        self._used = self._spread > 1e-9
        y = log_odds(accuracies, images)
        self._shift, self._unit = float(y.mean()), max(float(y.std()), 1e-3)
        x = self._standard(inputs)
        noise = sampling_variance(y, images) / self._unit**2
        z = (y - self._shift) / self._unit
        self._process = _fitted(x, z, noise)
        mean, variance = _cross_validated(x, z, noise)
        errors = (z - mean) / np.sqrt(variance + noise)
        # Fitted to a few dozen points, a process is too sure of itself; its record on what it was not shown mends that.
        self._caution = float(np.sqrt((PRIOR + np.square(errors).sum()) / (PRIOR + len(errors))))
        self.left_out = self._forecast(mean, np.maximum(variance - self._white, 1e-9))
        self.tau = _tau(self.left_out.mean, y)
        self.error = float(np.sqrt(np.square(self.left_out.mean - y).mean()))

    def predict(self, inputs: np.ndarray) -> Forecast:
        """Forecasts for ``inputs``, float ``[M, D]``."""
        with _one_thread():
            mean, deviation = self._process.predict(self._standard(inputs), return_std=True)
        return self._forecast(mean, np.maximum(np.square(deviation) - self._white, 1e-9))

    @property
    def _white(self) -> float:
        return float(self._process.kernel_.k2.noise_level)

    def _forecast(self, mean: np.ndarray, variance: np.ndarray) -> Forecast:
        odds = self._shift + self._unit * mean
        model = self._caution * self._unit * np.sqrt(variance)
        seeds = self._caution**2 * self._unit**2 * self._white
        return Forecast(odds, np.sqrt(model**2 + seeds + sampling_variance(odds, self._images)), model)

    def _standard(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray((inputs - self._centre)[:, self._used] / self._spread[self._used])


def _fitted(x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> GaussianProcessRegressor:
    """The process with the most likely hyper-parameters."""
    dimensions = max(x.shape[1], 1)
    linear = ConstantKernel(0.5 / dimensions, (1e-4 / dimensions, 1e1 / dimensions)) * DotProduct(1.0, "fixed")
    smooth = ConstantKernel(0.5, (1e-2, 1e1)) * RBF(float(np.sqrt(dimensions)), (0.3, 30.0 * np.sqrt(dimensions)))
    kernel = (linear + smooth) + WhiteKernel(0.05, (1e-3, 1.0))
    with _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound that is reached is a bound, not a failure
        return GaussianProcessRegressor(kernel, alpha=noise, n_restarts_optimizer=0).fit(x, y)


def _cross_validated(x: np.ndarray, y: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (but for the measuring noise) of each point, by a process fitted to the other folds."""
    mean, variance = np.empty(len(y)), np.empty(len(y))
    for fold in range(FOLDS):
        out = np.arange(len(y)) % FOLDS == fold
        process = _fitted(x[~out], y[~out], noise[~out])
        with _one_thread():
            mean[out], deviation = process.predict(x[out], return_std=True)
        variance[out] = np.square(deviation)
    return mean, variance


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
