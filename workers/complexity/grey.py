"""Colour images as grey ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as JPEG and Pillow weigh red, green and blue."""


def to_grey(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """uint8 ``[N, C, H, W]``, C 1 or 3, as brightness in [0, 1], float64 ``[N, H, W]``."""
    if images.shape[1] == 1:
        return images[:, 0] / 255.0
    # From integers: a grey picture stored in colour is then exactly as bright as the grey one.
    red, green, blue = (images[:, i].astype(np.int64) * round(1000 * share) for i, share in enumerate(_LUMA))
    return (red + green + blue) / 255_000.0
