"""scikit-learn's handwritten digits: 1,797 grey images of 8×8 in 10 classes, always at hand."""

from __future__ import annotations

import numpy as np
from PIL import Image

from workers.data.table import Parts, Table


def open_digits() -> Parts:
    """The `digits` set, which has no splits of its own.

    scikit-learn's values 0..16 become 0..255 as v * 255 / 16 rounded half up: 0, 16, 32, 48, 64, 80, 96,
    112, 128, 143, 159, 175, 191, 207, 223, 239, 255.
    """
    from sklearn.datasets import load_digits  # slow to import, and most runs have data of their own

    bunch = load_digits()
    pixels = ((bunch.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    return Parts(
        Table(
            name="digits",
            labels=bunch.target.astype(np.int64),
            class_names=tuple(str(digit) for digit in range(10)),
            read=lambda row: Image.fromarray(pixels[row]),
            where=lambda row: f"digits, row {row}",
        )
    )
