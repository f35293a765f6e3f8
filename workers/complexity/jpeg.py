"""How many bytes JPEG needs for an image, and nothing but the image: headers and tables do not count."""

from __future__ import annotations

import functools
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

QUALITY = 95
"""JPEG quality; values of different qualities cannot be compared."""


def jpeg_complexity(images: npt.NDArray[np.uint8], quality: int = QUALITY) -> npt.NDArray[np.float64]:
    """JPEG bytes per pixel value of each image: about 0 for a constant one, and the more the less
    regular the image is.

    The size of a mid-grey image of the same shape is subtracted: an image of 28×28 is mostly header otherwise. Colour
    is subsampled 4:2:0, as Pillow does by default.

    Args:
        images: uint8 ``[N, C, H, W]``, C 1 or 3.

    Returns:
        float64 ``[N]``, bytes per pixel value (H·W·C of them).

    Source: Mishra et al., "CC-Net", ISBI 2019 (arXiv 1901.01578) tabulates such a measure as J; that it is JPEG's
    size, and its quality, are our reading.
    """
    _, channels, height, width = images.shape
    empty = _empty_size(channels, height, width, quality)
    sizes = [max(0, _size(image, quality) - empty) for image in images]
    values: npt.NDArray[np.float64] = np.array(sizes, dtype=np.float64) / (channels * height * width)
    return values


@functools.lru_cache
def _empty_size(channels: int, height: int, width: int, quality: int) -> int:
    return _size(np.full((channels, height, width), 128, dtype=np.uint8), quality)


def _size(image: npt.NDArray[np.uint8], quality: int) -> int:
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return buffer.tell()
