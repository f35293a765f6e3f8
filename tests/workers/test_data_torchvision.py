"""torchvision sets, read from small files that are laid out as torchvision expects. No network.

CIFAR and SVHN check the MD5 of their files, so the tables of MD5s are set to those of the files written here:
the check itself stays on, and a test shows that it still refuses a damaged file.
"""

from __future__ import annotations

import bz2
import hashlib
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets

from workers.data import DataError, DataRequest, Splits, load_splits
from workers.data.torchvision_sets import SETS

TRAIN_EACH, TEST_EACH = 5, 2


def load(name: str, root: Path, **settings: object) -> Splits:
    return load_splits(DataRequest(name, root=str(root), download=False, **settings))  # type: ignore[arg-type]


def labels_of(classes: int, each: int) -> np.ndarray:
    return np.tile(np.arange(classes), each)


def check(splits: Splits, shape: tuple[int, int, int], classes: int, test_images: np.ndarray) -> None:
    """`test_images` is uint8 [N, C, H, W], one row a label of `labels_of(classes, TEST_EACH)`."""
    assert splits.train.shape == shape
    assert splits.train.classes == classes
    assert len(splits.train) == classes * (TRAIN_EACH - 1)
    assert len(splits.validation) == classes
    np.testing.assert_array_equal(splits.test.images, test_images)
    np.testing.assert_array_equal(splits.test.labels, labels_of(classes, TEST_EACH))


def write_idx(file: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    file.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(folder: Path, prefixes: tuple[str, str], classes: int) -> np.ndarray:
    """Returns the test images [N, 1, 28, 28]."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, each in zip(prefixes, (TRAIN_EACH, TEST_EACH), strict=True):
        images = rng.integers(0, 256, (classes * each, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels_of(classes, each))
    return images[:, None]


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_and_its_kin(tmp_path, name):
    images = write_mnist(tmp_path / name / "raw", ("train", "t10k"), 10)
    splits = load(name, tmp_path)
    check(splits, (1, 28, 28), 10, images)
    assert splits.train.class_names == tuple(getattr(datasets, name).classes)


def test_emnist_is_the_balanced_variant(tmp_path):
    prefixes = ("emnist-balanced-train", "emnist-balanced-test")
    images = write_mnist(tmp_path / "EMNIST" / "raw", prefixes, 47)
    check(load("EMNIST", tmp_path), (1, 28, 28), 47, images)


def write_cifar(folder: Path, key: str, names_key: str, classes: int, batches: dict[str, list[str]]) -> np.ndarray:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for each, files in zip((TRAIN_EACH, TEST_EACH), batches.values(), strict=True):
        images = rng.integers(0, 256, (classes * each, 3072), dtype=np.uint8)
        rows = np.array_split(np.arange(len(images)), len(files))
        for file, part in zip(files, rows, strict=True):
            labels = labels_of(classes, each)[part].tolist()
            (folder / file).write_bytes(pickle.dumps({"data": images[part], key: labels}))
    meta = "batches.meta" if key == "labels" else "meta"
    (folder / meta).write_bytes(pickle.dumps({names_key: [f"class {label}" for label in range(classes)]}))
    return images.reshape(-1, 3, 32, 32)


def trust_cifar(monkeypatch: pytest.MonkeyPatch, kind: Any, folder: Path) -> None:
    for table in ("train_list", "test_list"):
        monkeypatch.setattr(kind, table, [[file, md5(folder / file)] for file, _ in getattr(kind, table)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / kind.meta["filename"])})


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    batches = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    images = write_cifar(folder, "labels", "label_names", 10, batches)
    trust_cifar(monkeypatch, datasets.CIFAR10, folder)
    return tmp_path, images


def test_cifar10(cifar10):
    root, images = cifar10
    splits = load("CIFAR10", root)
    check(splits, (3, 32, 32), 10, images)
    assert splits.train.class_names[3] == "class 3"


def test_cifar100_takes_the_fine_labels(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    batches = {"train": ["train"], "test": ["test"]}
    images = write_cifar(folder, "fine_labels", "fine_label_names", 100, batches)
    trust_cifar(monkeypatch, datasets.CIFAR100, folder)
    check(load("CIFAR100", tmp_path), (3, 32, 32), 100, images)


def test_a_damaged_cifar_file_is_not_unpickled(cifar10):
    root, _ = cifar10
    with (root / "cifar-10-batches-py" / "data_batch_2").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=r"CIFAR10: torchvision could not read its train split.*corrupted"):
        load("CIFAR10", root)


def test_svhn(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    table = dict(datasets.SVHN.split_list)
    for part, each in (("train", TRAIN_EACH), ("test", TEST_EACH)):
        images = rng.integers(0, 256, (10 * each, 3, 32, 32), dtype=np.uint8)
        labels = labels_of(10, each)
        file = tmp_path / f"{part}_32x32.mat"
        # The published files call the digit 0 by the label 10.
        scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        table[part] = [*table[part][:2], md5(file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    splits = load("SVHN", tmp_path)
    check(splits, (3, 32, 32), 10, images)
    assert splits.train.class_names == tuple("0123456789")


def test_usps(tmp_path):
    for file, each in (("usps.bz2", TRAIN_EACH), ("usps.t.bz2", TEST_EACH)):
        pixels = " ".join(f"{index}:1" for index in range(1, 257))
        lines = [f"{label + 1} {pixels}\n" for label in labels_of(10, each)]
        (tmp_path / file).write_bytes(bz2.compress("".join(lines).encode()))
    check(load("USPS", tmp_path), (1, 16, 16), 10, np.full((20, 1, 16, 16), 255, np.uint8))


def test_a_set_without_splits_is_split_by_us(tmp_path, monkeypatch):
    rows = np.zeros((50, 266))
    rows[np.arange(50), 256 + np.arange(50) % 10] = 1
    np.savetxt(tmp_path / "semeion.data", rows)
    monkeypatch.setattr(datasets.SEMEION, "md5_checksum", md5(tmp_path / "semeion.data"))
    splits = load("SEMEION", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, 10]


def test_image_files_are_opened_lazily_and_own_validation_is_used(tmp_path):
    """RenderedSST2: files on disk, three splits, and a loader of ours that keeps grey images grey."""
    for part, count in (("train", 4), ("valid", 2), ("test", 3)):
        for name in ("negative", "positive"):
            folder = tmp_path / "rendered-sst2" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("L", (5, 5), index).save(folder / f"{index}.png")
    splits = load("RenderedSST2", tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 4, 6]
    assert splits.train.shape == (1, 5, 5)
    assert splits.train.class_names == ("negative", "positive")
    (tmp_path / "rendered-sst2" / "valid" / "positive" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"RenderedSST2 in .*, validation item 3: cannot be read"):
        load("RenderedSST2", tmp_path)


def test_another_sets_test_split_as_test(tmp_path):
    """Class names differ between the two, so the labels cannot be taken to mean the same."""
    write_mnist(tmp_path / "MNIST" / "raw", ("train", "t10k"), 10)
    write_mnist(tmp_path / "KMNIST" / "raw", ("train", "t10k"), 10)
    with pytest.raises(DataError, match=r"KMNIST \(test\): class 'o', 'ki', .* is not among the training classes"):
        load("MNIST", tmp_path, test="KMNIST")
    assert len(load("MNIST", tmp_path, test="MNIST").test) == 20


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "SVHN", "STL10", "EuroSAT", "ImageNet", "Flowers102", "USPS"])
def test_missing_files_name_the_set_the_root_and_the_mend(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load(name, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"source: {name}: torchvision could not read its train split")
    assert str(tmp_path) in message
    assert "place its files in" in message


def test_a_failed_download_says_how_to_go_on_offline(tmp_path, monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", no_network)
    with pytest.raises(DataError, match=r"CIFAR10: .*name resolution.*check the network, or offline: place") as caught:
        load_splits(DataRequest("CIFAR10", root=str(tmp_path)))
    assert "cifar-10-batches-py" in str(caught.value)


def test_a_damaged_idx_file(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", ("train", "t10k"), 10)
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="MNIST: torchvision could not read its test split"):
        load("MNIST", tmp_path)


def test_every_set_in_the_table_is_a_class_that_takes_the_arguments_given():
    for name, spec in SETS.items():
        signature = inspect.signature(getattr(datasets, name))
        for arguments in (spec.train, spec.validation, spec.test):
            if arguments is not None:
                signature.bind("root", **arguments, **({"download": False} if spec.downloads else {}))
