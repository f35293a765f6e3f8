"""Decoded images with their labels, and the three splits that a search works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.data.errors import DataError
from workers.data.mapped import file_of, open_mapped

_PIXELS_AT_A_TIME = 1 << 20


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images, all of one shape.

    images: uint8 [N, C, H, W], C is 1 (grey) or 3 (RGB), values 0..255.
    labels: int64 [N], each an index into `class_names`.
    class_names: one name a class, in label order.

    Nothing here writes to the arrays, so they may be read-only views of shared memory or of a file. Images of a whole
    file (see `mapped`) go to another process by its name.
    Raises DataError where the arrays do not have these types and shapes.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise DataError(
                f"images is {self.images.dtype} {list(self.images.shape)}",
                "give uint8 [N, C, H, W] with C 1 or 3",
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels is {self.labels.dtype} {list(self.labels.shape)} for {len(self.images)} images",
                "give int64 [N], one label an image",
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Callable[..., Images], tuple[object, ...]]:
        path = file_of(self.images)
        if path is None:
            return Images, (np.asarray(self.images), self.labels, self.class_names)
        return _of_file, (path, self.labels, self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """Number of classes, whether or not each has images here."""
        return len(self.class_names)

    def subset(self, indices: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | Sequence[int]) -> Images:
        """The images at `indices` (row numbers or a mask of length N), in that order, as a copy."""
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        return Images(self.images[chosen], self.labels[chosen], self.class_names)


def _of_file(path: Path, labels: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> Images:
    return Images(open_mapped(path), labels, class_names)


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test images: one shape, one list of classes.

    Training and validation stand in a seeded random order, so any prefix is a fair sample.
    """

    train: Images
    validation: Images
    test: Images

    def statistics(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation of the training pixels: two float32 [C], of values scaled to 0..1.

        A channel that never varies has deviation 1 here, so that dividing by it is always safe.
        """
        return _pixel_statistics(self.train.images)


def _pixel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    # Counting the 256 values is exact whatever the order of the images, which a float sum is not.
    channels = images.shape[1]
    histogram = np.zeros((channels, 256), dtype=np.int64)
    count = max(1, _PIXELS_AT_A_TIME // images[0, 0].size) if len(images) else 1
    for start in range(0, len(images), count):
        for channel in range(channels):
            values = images[start : start + count, channel].ravel()
            histogram[channel] += np.bincount(values, minlength=256)
    levels = np.arange(256) / 255.0
    weight = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weight @ levels
    deviation = np.sqrt((weight * (levels - mean[:, None]) ** 2).sum(axis=1))
    constant = (histogram > 0).sum(axis=1) == 1
    return mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32)
