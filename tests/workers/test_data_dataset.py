"""Images and Splits: shapes, subsets and statistics, on arrays that must not be written to."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from workers.data import DataError, Images, Splits


def make(count: int = 50, channels: int = 3, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, channels, 5, 7), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    pixels.flags.writeable = False
    labels.flags.writeable = False
    return Images(pixels, labels, ("cat", "dog"))


def test_properties():
    images = make()
    assert (len(images), images.shape, images.classes) == (50, (3, 5, 7), 2)


def test_subset_by_rows_mask_and_nothing():
    images = make()
    some = images.subset([7, 3])
    np.testing.assert_array_equal(some.images, images.images[[7, 3]])
    assert some.labels.tolist() == [1, 1]
    assert len(images.subset(images.labels == 0)) == 25
    assert len(images.subset([])) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_numpy_in_float64_and_of_train_alone(channels):
    train = make(3000, channels)
    mean, deviation = Splits(train, make(4, channels, 1), make(4, channels, 2)).statistics()
    scaled = train.images / 255.0
    assert mean.dtype == deviation.dtype == np.float32
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation, scaled.std(axis=(0, 2, 3)), rtol=1e-6)


def test_a_channel_that_never_varies_has_deviation_one():
    flat = Images(np.full((4, 1, 2, 2), 51, np.uint8), np.array([0, 1, 0, 1]), ("a", "b"))
    mean, deviation = Splits(flat, flat, flat).statistics()
    assert (mean.tolist(), deviation.tolist()) == ([pytest.approx(0.2)], [1.0])


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), np.zeros(2, np.int64), "images is float32"),
        (np.zeros((2, 4, 4, 4), np.uint8), np.zeros(2, np.int64), "C 1 or 3"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(3, np.int64), "one label an image"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int32), "int32"),
    ],
)
def test_wrong_arrays_are_refused(pixels, labels, message):
    with pytest.raises(DataError, match=message):
        Images(pixels, labels, ("a", "b"))


def test_an_error_survives_being_rebuilt_in_another_process():
    error = DataError("row 3: label is null", "remove the row")
    assert str(copy.copy(error)) == str(error) == "row 3: label is null. Mend: remove the row."
    assert isinstance(error, ValueError)
