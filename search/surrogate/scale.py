"""The scale on which trained accuracy is foretold: log-odds, where a gain near 1 counts for more than one near chance.

An accuracy measured on n images is a share of successes. On this scale its sampling variance is 1 / (n·p·(1−p)):
exactly what makes a 99% accuracy on few images worth less than it looks.
"""

from __future__ import annotations

import numpy as np


def log_odds(accuracy: np.ndarray, images: int) -> np.ndarray:
    """Log-odds of accuracies measured on ``images`` images, half a success and half a failure added (Haldane–Anscombe).

    Finite for 0 and 1 too.
    """
    successes = np.asarray(accuracy, dtype=float) * images
    return np.asarray(np.log((successes + 0.5) / (images - successes + 0.5)))


def accuracy_of(odds: np.ndarray) -> np.ndarray:
    """The accuracy in (0, 1) that log-odds stand for."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(odds, dtype=float))))


def sampling_variance(odds: np.ndarray, images: int) -> np.ndarray:
    """Variance of :func:`log_odds` that comes from measuring on ``images`` images only."""
    p = accuracy_of(odds)
    return np.asarray(1.0 / (images * p * (1.0 - p) + 0.5))
