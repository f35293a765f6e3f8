"""Parquet files in the Hugging Face image convention."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from workers.data import DataError, DataRequest, Splits, load_splits

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = {"class_names": json.dumps(["cat", "dog"])}


def png(value: int, size: int = 4) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, 0, 0)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write(
    file: Path,
    labels: list[int | None],
    images: list[Any] | None = None,
    metadata: dict[str, str] | None = NAMES,
    label_type: pa.DataType | None = None,
    rows_a_group: int = 3,
) -> Path:
    """Row i is an image of red value i."""
    images = [png(row) for row in range(len(labels))] if images is None else images
    label_column = pa.array(labels, label_type or pa.int64())
    table = pa.table({"image": pa.array(images, IMAGE), "label": label_column}).replace_schema_metadata(metadata)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=rows_a_group)
    return file


def load(source: Path, **settings: object) -> Splits:
    return load_splits(DataRequest(str(source), **settings))  # type: ignore[arg-type]


def test_a_file_is_split_and_its_rows_are_not_mixed_up(tmp_path):
    splits = load(write(tmp_path / "set.parquet", [0, 1] * 10))
    assert splits.train.class_names == ("cat", "dog")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    seen = []
    for part in (splits.train, splits.validation, splits.test):
        rows = part.images[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(rows % 2, part.labels)
        seen += rows.tolist()
    assert sorted(seen) == list(range(20))


def test_a_separate_test_file(tmp_path):
    train = write(tmp_path / "a.parquet", [0, 1] * 6)
    test = write(tmp_path / "b.parquet", [0, 0, 1], metadata={"class_names": '["dog", "cat"]'})
    splits = load(train, test=str(test))
    assert splits.test.labels.tolist() == [1, 1, 0]
    assert splits.test.images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_folder_of_files_is_one_table(tmp_path):
    write(tmp_path / "part-0.parquet", [0, 1] * 4)
    write(tmp_path / "part-1.parquet", [1, 0] * 4)
    splits = load(tmp_path)
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 16


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("digits-train.parquet", "digits-test.parquet"),
        ("train/0.parquet", "test/0.parquet"),
        ("data/train-0.parquet", "data/test-0.parquet"),
    ],
)
def test_a_folder_with_named_splits(tmp_path, train, test):
    write(tmp_path / train, [0, 1] * 6)
    write(tmp_path / test, [0, 1, 1])
    (tmp_path / train).with_name("._train.parquet").write_bytes(b"what macOS keeps beside a file")
    assert load(tmp_path).test.labels.tolist() == [0, 1, 1]


def test_a_folder_where_only_some_files_are_named_for_a_split(tmp_path):
    write(tmp_path / "test.parquet", [0, 1] * 6)
    write(tmp_path / "other.parquet", [0, 1])
    with pytest.raises(DataError, match=r"'other.parquet'.*name all files for train"):
        load(tmp_path)


def test_hugging_faces_own_class_names(tmp_path):
    features = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    file = write(tmp_path / "x.parquet", [0, 1] * 5, metadata={"huggingface": json.dumps(features)})
    assert load(file).train.class_names == ("no", "yes")


def test_without_class_names_the_labels_are_the_names(tmp_path):
    train = write(tmp_path / "x.parquet", [0, 1, 2] * 5, metadata=None)
    assert load(train).train.class_names == ("0", "1", "2")
    named = write(tmp_path / "y.parquet", [0, 1], metadata=NAMES)
    assert load(train, test=str(named)).test.labels.tolist() == [0, 1]


def test_a_class_that_only_the_test_file_lists_but_does_not_hold_is_harmless(tmp_path):
    train = write(tmp_path / "x.parquet", [0, 1] * 5)
    test = write(tmp_path / "y.parquet", [2, 1], metadata={"class_names": '["owl", "dog", "cat"]'})
    assert load(train, test=str(test)).test.labels.tolist() == [0, 1]


def test_no_parquet(tmp_path):
    file = tmp_path / "x.parquet"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"x\.parquet: not a readable Parquet file.*Mend"):
        load(file)


def test_a_cut_parquet(tmp_path):
    file = write(tmp_path / "x.parquet", [0, 1] * 5)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"x\.parquet: not a readable Parquet file.*copied whole"):
        load(file)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"label": [0, 1]}), r"no column 'image', only label.*name the column 'image'"),
        (pa.table({"image": pa.array([png(0)], IMAGE)}), "no column 'label'"),
        (pa.table({"image": ["a.png"], "label": [0]}), r"column 'image' is of type string.*struct<bytes"),
        (
            pa.table({"image": pa.array([png(0)], IMAGE), "label": ["cat"]}),
            "column 'label' is of type string",
        ),
        (pa.table({"image": pa.array([png(0)], IMAGE), "label": [0.5]}), "column 'label' is of type double"),
    ],
)
def test_wrong_columns(tmp_path, table, message):
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet: " + message):
        load(tmp_path / "x.parquet")


@pytest.mark.parametrize("label", [-1, 2, 10**15])
def test_a_label_out_of_range_is_named_by_row(tmp_path, label):
    file = write(tmp_path / "x.parquet", [0, 1, 0, 1, 0, 1, 0, label])
    with pytest.raises(DataError, match=rf"x\.parquet, row 7: label {label} is out of range.*0\.\.1.*Mend"):
        load(file)


@pytest.mark.parametrize(("label", "message"), [(-1, "row 7: label -1"), (10**15, "label 2 has no training image")])
def test_a_label_out_of_range_without_class_names(tmp_path, label, message):
    file = write(tmp_path / "x.parquet", [0, 1, 0, 1, 0, 1, 0, label], metadata=None)
    with pytest.raises(DataError, match=message):
        load(file)


def test_a_test_label_out_of_range_is_named_by_row(tmp_path):
    train = write(tmp_path / "x.parquet", [0, 1] * 5)
    test = write(tmp_path / "y.parquet", [0, 1, 2])
    with pytest.raises(DataError, match=r"y\.parquet, row 2: label 2 is out of range"):
        load(train, test=str(test))


def test_a_null_label(tmp_path):
    with pytest.raises(DataError, match=r"x\.parquet, row 4: label is null.*remove it"):
        load(write(tmp_path / "x.parquet", [0, 1, 0, 1, None, 1]))


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "cat.png"}])
def test_a_null_image(tmp_path, image):
    images = [png(row) for row in range(8)]
    images[5] = image
    with pytest.raises(DataError, match=r"x\.parquet, row 5: image is null.*embed"):
        load(write(tmp_path / "x.parquet", [0, 1] * 4, images))


def test_a_broken_image_in_the_second_file(tmp_path):
    write(tmp_path / "a.parquet", [0, 1] * 4)
    images = [png(row) for row in range(8)]
    images[6]["bytes"] = images[6]["bytes"][:30]
    write(tmp_path / "b.parquet", [0, 1] * 4, images)
    with pytest.raises(DataError, match=r"b\.parquet, row 6: the image is broken"):
        load(tmp_path)


def test_a_named_class_without_images(tmp_path):
    file = write(tmp_path / "x.parquet", [0, 1] * 5, metadata={"class_names": '["cat", "dog", "owl"]'})
    with pytest.raises(DataError, match="class 'owl' has no training image"):
        load(file)


def test_one_class(tmp_path):
    with pytest.raises(DataError, match="only one class"):
        load(write(tmp_path / "x.parquet", [0] * 5, metadata=None))


def test_no_rows(tmp_path):
    with pytest.raises(DataError, match=r"x\.parquet: the file holds no rows"):
        load(write(tmp_path / "x.parquet", []))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ('{"0": "cat"}', "JSON list of strings"), ('["a", "a"]', "'a' stands twice")],
)
def test_class_names_that_are_none(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"x\.parquet: .*{message}"):
        load(write(tmp_path / "x.parquet", [0, 1] * 5, metadata={"class_names": text}))


def test_files_that_disagree_on_class_names(tmp_path):
    write(tmp_path / "a.parquet", [0, 1] * 5)
    write(tmp_path / "b.parquet", [0, 1] * 5, metadata={"class_names": '["owl", "cat"]'})
    with pytest.raises(DataError, match=r"b\.parquet: its class names differ from those of .*a\.parquet"):
        load(tmp_path)


@pytest.mark.data
def test_sign_language_digits():
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("NIWAKI_DATA", default))
    train, test = folder / "sign-digits-train.parquet", folder / "sign-digits-test.parquet"
    if not (train.is_file() and test.is_file()):
        pytest.skip(f"{train.name} and {test.name} are not in {folder}: set NIWAKI_DATA to their folder")
    splits = load(train, test=str(test))
    assert splits.train.class_names == tuple("0123456789")
    assert len(splits.train) + len(splits.validation) == 1662
    assert (len(splits.test), splits.test.shape) == (400, (3, 64, 64))
    assert abs(len(splits.validation) - 0.2 * 1662) < 1
    with Image.open(io.BytesIO(pq.read_table(test)["image"][17].as_py()["bytes"])) as image:
        np.testing.assert_array_equal(splits.test.images[17], np.asarray(image.convert("RGB")).transpose(2, 0, 1))
