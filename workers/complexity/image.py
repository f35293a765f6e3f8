"""How complex images are in themselves, whatever their labels: three numbers an image, and their means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from workers.complexity.blobs import blob_density
from workers.complexity.frequency import median_frequency
from workers.complexity.jpeg import jpeg_complexity


@dataclass(frozen=True)
class Mean:
    """A mean and the ends of its 95% confidence interval (Student's t; nan of a single value)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Mean:
        """Of at least one value."""
        mean = float(values.mean())
        if len(values) < 2:
            return cls(mean, math.nan, math.nan)
        reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
        return cls(mean, mean - reach, mean + reach)


@dataclass(frozen=True, eq=False)
class ImageComplexity:
    """The measures of every image.

    Attributes:
        jpeg: float64 ``[N]``, see :func:`workers.complexity.jpeg.jpeg_complexity`.
        blobs: float64 ``[N]`` in [0, 1], see :func:`workers.complexity.blobs.blob_density`.
        frequency: float64 ``[N]``, cycles per pixel, see :func:`workers.complexity.frequency.median_frequency`.
    """

    jpeg: npt.NDArray[np.float64]
    blobs: npt.NDArray[np.float64]
    frequency: npt.NDArray[np.float64]

    def means(self) -> dict[str, Mean]:
        """A data set's complexity is the mean over its training images: by measure, in the order of the fields."""
        return {name: Mean.of(getattr(self, name)) for name in ("jpeg", "blobs", "frequency")}


def measure_images(images: npt.NDArray[np.uint8]) -> ImageComplexity:
    """All measures of uint8 ``[N, C, H, W]``, C 1 or 3, N at least 1."""
    return ImageComplexity(jpeg_complexity(images), blob_density(images), median_frequency(images))
