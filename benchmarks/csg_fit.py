"""From figures of class overlap to an expected error: the fits that ``csg_value.py`` prints for ``expected.py``.

angle(error) = a + Σ b · angle(figure) by least squares, angle(p) = arcsin √p, in which shares have an even spread. What
a fit says of sources that it has seen flatters it, so every fit is judged with one source left out at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.complexity.expected import angle, share


@dataclass(frozen=True)
class Fit:
    """Coefficients, constant first, and what they are worth.

    Attributes:
        deviation: root mean squared residual in angles, of sources left out.
        absolute: mean absolute error of the foretold test error, of sources left out.
        correlation: Pearson's, of the foretold and the true error of sources left out.
    """

    figures: tuple[str, ...]
    coefficients: tuple[float, ...]
    deviation: float
    absolute: float
    correlation: float


def fit(rows: Sequence[dict[str, Any]], figures: Sequence[str]) -> Fit:
    """The fit to all rows, judged by leaving sources out."""
    design = np.array([[1.0, *(angle(row["figures"][figure]) for figure in figures)] for row in rows])
    error = np.array([row["error"] for row in rows])
    target = np.array([angle(value) for value in error])
    sources = np.array([row["source"] for row in rows])
    foretold = np.empty(len(rows))
    for source in np.unique(sources):
        out = sources == source
        foretold[out] = design[out] @ np.linalg.lstsq(design[~out], target[~out], rcond=None)[0]
    probable = np.array([share(value) for value in foretold])
    return Fit(
        tuple(figures),
        tuple(float(value) for value in np.linalg.lstsq(design, target, rcond=None)[0]),
        float(np.sqrt(np.square(foretold - target).mean())),
        float(np.abs(probable - error).mean()),
        float(np.corrcoef(probable, error)[0, 1]),
    )


def choose_and_fit(rows: Sequence[dict[str, Any]], figures: Sequence[str]) -> tuple[float, float]:
    """Mean absolute error and Pearson's correlation where the choice of one figure is left to the other sources too."""
    error = np.array([row["error"] for row in rows])
    target = np.array([angle(value) for value in error])
    sources = np.array([row["source"] for row in rows])
    probable = np.empty(len(rows))
    for source in np.unique(sources):
        out = sources == source
        values = {figure: np.array([row["figures"][figure] for row in rows]) for figure in figures}
        best = max(figures, key=lambda f: float(np.corrcoef(values[f][~out], error[~out])[0, 1]))
        design = np.array([[1.0, angle(value)] for value in values[best]])
        solved = np.linalg.lstsq(design[~out], target[~out], rcond=None)[0]
        probable[out] = [share(value) for value in design[out] @ solved]
    return float(np.abs(probable - error).mean()), float(np.corrcoef(probable, error)[0, 1])
