"""How much of an image is covered by blobs: bright spots of any size, found by a ladder of Laplacians of Gaussians."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn
from scipy.ndimage import maximum_filter

from workers.complexity.grey import to_grey

THRESHOLD = 0.1
"""Least response that counts; a disc of full contrast answers with 2/e = 0.74."""
FINEST, COARSEST = 2.0, 32.0
"""Standard deviations of the Gaussians, in pixels."""
_STEPS = 4
"""Scales an octave."""


def blob_density(images: npt.NDArray[np.uint8], threshold: float = THRESHOLD) -> npt.NDArray[np.float64]:
    """The share of each image's area that lies in blobs, in [0, 1].

    A blob is a local maximum, over place and scale, of ``−σ²∇²G_σ * image`` (Lindeberg, IJCV 1998) above
    ``threshold``; it covers a disc of radius √2·σ. σ runs from 2 to 32 pixels, or as far as such a disc fits into the
    image. Only bright blobs on darker ground count.

    Args:
        images: uint8 ``[N, C, H, W]``, C 1 or 3; colour is taken as grey in [0, 1].

    Returns:
        float64 ``[N]``.

    Source: Mishra et al., "CC-Net", ISBI 2019 (arXiv 1901.01578) tabulates such a measure as B; that it is an area
    fraction of blobs is our reading.
    """
    scales = _scales(*images.shape[-2:])
    return np.array([_covered(to_grey(image[None])[0], scales, threshold) for image in images], dtype=np.float64)


def _scales(height: int, width: int) -> npt.NDArray[np.float64]:
    widest = max(FINEST, min(COARSEST, min(height, width) / (2 * math.sqrt(2))))
    count = max(1, math.ceil(_STEPS * math.log2(widest / FINEST)) + 1)
    return np.geomspace(FINEST, widest, count)


def _covered(grey: npt.NDArray[np.float64], scales: npt.NDArray[np.float64], threshold: float) -> float:
    responses = _responses(grey, scales)
    peaks = (responses >= threshold) & (responses == maximum_filter(responses, size=3, mode="nearest"))
    cover = np.zeros(grey.shape)
    for level, row, column in np.argwhere(peaks):
        radius = math.sqrt(2) * _between(responses[:, row, column], int(level), scales)
        _draw(cover, int(row), int(column), radius)
    return float(cover.mean())


def _responses(grey: npt.NDArray[np.float64], scales: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``−σ²∇²G_σ * grey``, float64 ``[scales, H, W]``; the cosine transform mirrors the image at its edges."""
    height, width = grey.shape
    rows, columns = (math.pi * np.arange(n) / n for n in (height, width))
    squared = rows[:, None] ** 2 + columns**2
    spectrum = dctn(grey, type=2, norm="ortho")
    reached = scales[:, None, None] ** 2 * squared
    responses: npt.NDArray[np.float64] = idctn(
        spectrum * reached * np.exp(-reached / 2), type=2, norm="ortho", axes=(1, 2)
    )
    return responses


def _between(column: npt.NDArray[np.float64], level: int, scales: npt.NDArray[np.float64]) -> float:
    """The scale where a parabola through a peak and its neighbours, over log σ, is highest."""
    if level == 0 or level == len(scales) - 1:
        return float(scales[level])
    below, peak, above = column[level - 1 : level + 2]
    bend = below - 2 * peak + above
    shift = 0.0 if bend >= 0 else 0.5 * (below - above) / bend
    return float(scales[level] * (scales[level + 1] / scales[level]) ** shift)


def _draw(cover: npt.NDArray[np.float64], row: int, column: int, radius: float) -> None:
    """Pixels that the edge runs through are covered in part: in whole pixels a small disc is 10% off."""
    reach = math.ceil(radius)
    top, left = max(0, row - reach), max(0, column - reach)
    window = cover[top : row + reach + 1, left : column + reach + 1]
    rows = np.arange(top, top + window.shape[0]) - row
    columns = np.arange(left, left + window.shape[1]) - column
    distance = np.hypot(rows[:, None], columns)
    np.maximum(window, np.clip(radius + 0.5 - distance, 0.0, 1.0), out=window)
