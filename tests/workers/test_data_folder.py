"""Folders of images, with and without splits of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.data import DataError, DataRequest, Splits, load_splits


def fill(folder: Path, classes: dict[str, int], size: tuple[int, int] = (6, 6), mode: str = "RGB") -> Path:
    """`classes` gives the number of images a class; every image has its own colour."""
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            colour = (number * 60 + index) % 256
            Image.new(mode, size, colour if mode == "L" else (colour, index, 7)).save(folder / name / f"{index}.png")
    return folder


def load(folder: Path, **settings: object) -> Splits:
    return load_splits(DataRequest(str(folder), **settings))  # type: ignore[arg-type]


def test_a_colour_folder_is_split(tmp_path):
    splits = load(fill(tmp_path, {"dog": 10, "cat": 10}))
    assert splits.train.class_names == ("cat", "dog")
    assert splits.train.shape == (3, 6, 6)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    for part in (splits.train, splits.validation, splits.test):
        # The classes' colours are 0..9 for dog (written first) and 60..69 for cat.
        assert np.array_equal(part.images[:, 0, 0, 0] < 60, part.labels == 1)
    colours = np.concatenate([part.images[:, 0, 0, 0] for part in (splits.train, splits.validation, splits.test)])
    assert len(set(colours.tolist())) == 20


def test_a_grey_folder_has_one_channel(tmp_path):
    assert load(fill(tmp_path, {"a": 4, "b": 4}, mode="L")).train.shape == (1, 6, 6)


def test_mixed_sizes_are_brought_to_one(tmp_path):
    fill(tmp_path, {"a": 5}, (10, 10))
    fill(tmp_path, {"b": 5}, (14, 14))
    assert load(tmp_path).train.shape == (3, 12, 12)
    assert load(tmp_path, size=9).train.shape == (3, 9, 9)


@pytest.mark.parametrize("validation", ["val", "validation", "valid"])
def test_own_splits_are_used(tmp_path, validation):
    fill(tmp_path / "train", {"a": 6, "b": 6})
    fill(tmp_path / validation, {"a": 2, "b": 3})
    fill(tmp_path / "test", {"a": 1, "b": 4})
    splits = load(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 5, 5]
    assert splits.test.labels.tolist() == [0, 1, 1, 1, 1]


def test_what_is_missing_is_split_off_from_training(tmp_path):
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "test", {"a": 2, "b": 2})
    splits = load(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [16, 4, 4]


def test_own_validation_without_test(tmp_path):
    fill(tmp_path / "train", {"a": 10, "b": 10})
    fill(tmp_path / "val", {"a": 2, "b": 2})
    splits = load(tmp_path, limit=10)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 2, 4]


def test_a_test_folder_elsewhere_is_matched_by_class_name(tmp_path):
    fill(tmp_path / "one", {"ant": 5, "bee": 5, "cow": 5})
    fill(tmp_path / "two", {"cow": 2, "bee": 1})
    splits = load(tmp_path / "one", test=str(tmp_path / "two"))
    assert splits.test.labels.tolist() == [1, 2, 2]
    assert splits.test.class_names == ("ant", "bee", "cow")
    assert len(splits.train) + len(splits.validation) == 15


def test_nested_hidden_and_foreign_files(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    fill(tmp_path / "a", {"more": 2})
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "b" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    splits = load(tmp_path)
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 8
    assert splits.train.class_names == ("a", "b")


def test_other_formats(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index, suffix in enumerate(("jpg", "bmp", "gif", "tiff", "webp", "PNG")):
            Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / name / f"{index}.{suffix}")
    assert load(tmp_path).train.shape == (3, 4, 4)


def test_a_broken_image_is_named(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4})
    broken = tmp_path / "b" / "2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"b/2\.png: the image is broken.*Mend: replace"):
        load(tmp_path)


def test_a_truncated_image_is_named(tmp_path):
    fill(tmp_path, {"a": 4, "b": 4})
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    broken = tmp_path / "a" / "1.png"
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"a/1\.png: the image is broken"):
        load(tmp_path)


def test_no_images(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"holds no images.*Mend: lay it out as CLASS/NAME.png"):
        load(tmp_path)


def test_images_outside_of_class_folders(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: this image is in no class folder.*CLASS/NAME.png"):
        load(tmp_path)


def test_one_class(tmp_path):
    with pytest.raises(DataError, match=r"only one class, 'a'.*at least two"):
        load(fill(tmp_path, {"a": 5}))


def test_an_empty_class_folder(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"class 'c' has no training image.*remove the class"):
        load(tmp_path)


def test_a_class_too_small_to_split(tmp_path):
    with pytest.raises(DataError, match=r"class 'b \(2\)' has fewer than 3 images"):
        load(fill(tmp_path, {"a": 5, "b": 2}))


def test_a_small_class_is_fine_where_nothing_is_split(tmp_path):
    for part in ("train", "val", "test"):
        fill(tmp_path / part, {"a": 1, "b": 1})
    assert len(load(tmp_path).train) == 2


def test_a_test_class_that_training_lacks(tmp_path):
    fill(tmp_path / "train", {"a": 5, "b": 5})
    fill(tmp_path / "test", {"a": 2, "z": 2})
    with pytest.raises(DataError, match=r"class 'z' is not among the training classes.*same class names"):
        load(tmp_path)


def test_an_empty_test_folder(tmp_path):
    fill(tmp_path / "train", {"a": 5, "b": 5})
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test: the folder holds no images"):
        load(tmp_path)


def test_two_folders_for_validation(tmp_path):
    for part in ("train", "val", "validation"):
        fill(tmp_path / part, {"a": 3, "b": 3})
    with pytest.raises(DataError, match=r"both 'val' and 'validation'.*keep one"):
        load(tmp_path)


def test_the_training_folder_as_test(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    with pytest.raises(DataError, match=r"the training images themselves.*leave it out"):
        load(tmp_path, test=str(tmp_path) + "/")
