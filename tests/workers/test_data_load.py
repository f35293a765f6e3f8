"""The story as a whole: digits, requests that are refused, and sources that do not exist."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from workers.data import DataError, DataRequest, Splits, load_splits


def load(source: str = "digits", **settings: object) -> Splits:
    return load_splits(DataRequest(source, **settings))  # type: ignore[arg-type]


def test_digits_are_scaled_to_the_full_range_and_all_there():
    splits = load()
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [1079, 359, 359]
    assert splits.train.shape == (1, 8, 8)
    assert splits.train.class_names == tuple("0123456789")
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    expected = np.array(levels, np.uint8)[load_digits().images.astype(int)].reshape(1797, 64)
    together = np.concatenate([part.images for part in parts]).reshape(1797, 64)
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(expected, axis=0))


def test_digits_keep_their_labels():
    source = load_digits()
    label_of = {image.astype(int).tobytes(): label for image, label in zip(source.images, source.target, strict=True)}
    validation = load().validation
    back = (validation.images[:, 0].astype(int) * 16 + 127) // 255
    assert [label_of[image.tobytes()] for image in back] == validation.labels.tolist()


def test_the_same_request_gives_the_same_splits():
    one, two, other = load(seed=3), load(seed=3), load(seed=4)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name).images, getattr(two, name).images)
        np.testing.assert_array_equal(getattr(one, name).labels, getattr(two, name).labels)
    assert not np.array_equal(one.test.images, other.test.images)


def test_fractions_limit_and_size():
    splits = load(validation_fraction=0.1, test_fraction=0.3, limit=200, size=12)
    assert len(splits.test) == 539
    assert len(splits.train) + len(splits.validation) == 200
    assert len(splits.validation) == pytest.approx(200 * 0.1 / 0.7, abs=1)
    assert splits.train.shape == splits.test.shape == (1, 12, 12)


def test_a_limit_leaves_the_test_split_and_a_large_one_leaves_all():
    np.testing.assert_array_equal(load(limit=50).test.images, load().test.images)
    np.testing.assert_array_equal(load(limit=10_000).train.images, load().train.images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_fraction": 0.0}, "validation_fraction is 0.0.*between 0 and 1"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"test_fraction": -0.1}, "test_fraction is -0.1.*between 0 and 1"),
        ({"test_fraction": float("nan")}, "test_fraction is nan"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on.*sum less than 1"),
        ({"size": 0}, "size is 0.*at least 1 pixel"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": 19}, "limit 19 is too small.*at least 20"),
        ({"seed": -1}, "seed is -1.*0 or more"),
        ({"source": " "}, "source is empty"),
        ({"test": "digits"}, "test is 'digits', the training images themselves"),
    ],
)
def test_requests_that_cannot_be_meant(settings, message):
    with pytest.raises(DataError, match=message):
        load(**settings)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnist", "nearest name is 'MNIST'"),
        ("CIFAR", "nearest name is 'CIFAR10'"),
        ("digit", "nearest name is 'digits'"),
        ("FasionMNIST", "nearest name is 'FashionMNIST'"),
        ("no/such/folder", "no/such/folder: no such file or folder.*check the path"),
        ("gone.parquet", "gone.parquet: no such file or folder"),
        ("CocoDetection", "not a plain classification set.*choose another"),
        ("~/no-such-folder-here", "no such file or folder"),
    ],
)
def test_sources_that_do_not_exist(source, message):
    with pytest.raises(DataError, match=message):
        load(source)
    with pytest.raises(DataError, match=message):
        load("digits", test=source)


def test_test_images_of_other_classes_are_refused(tmp_path):
    for name in ("0", "ten"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "a.png")
    with pytest.raises(DataError, match="class 'ten' is not among the training classes of digits"):
        load("digits", test=str(tmp_path))
