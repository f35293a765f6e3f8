"""The classification sets that torchvision offers, by class name: `MNIST`, `CIFAR10`, `SVHN`, ..."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.data.errors import DataError
from workers.data.table import Parts, Table

_Arguments = Mapping[str, object]


@dataclass(frozen=True)
class SetSpec:
    """How to construct the parts of a torchvision set.

    train, validation, test: constructor arguments of each part; a part of None is split off from `train`.
    downloads: whether torchvision can download it (and so whether it takes `download`).
    files: where below the root torchvision expects the files, for messages.
    """

    train: _Arguments = field(default_factory=dict)
    validation: _Arguments | None = None
    test: _Arguments | None = None
    downloads: bool = True
    files: str = ""


def _by_flag(files: str = "", **fixed: object) -> SetSpec:
    return SetSpec({"train": True, **fixed}, None, {"train": False, **fixed}, files=files)


def _by_split(
    train: str = "train",
    test: str | None = "test",
    validation: str | None = None,
    downloads: bool = True,
    files: str = "",
    **fixed: object,
) -> SetSpec:
    def part(name: str | None) -> dict[str, object] | None:
        return None if name is None else {"split": name, **fixed}

    return SetSpec({"split": train, **fixed}, part(validation), part(test), downloads, files)


# A validation split that is the only labelled one beside training (CLEVR, ImageNet, Imagenette, Places365)
# is the set's test split here. Left out: sets whose test classes are not the training classes (LFW, the
# second half of Omniglot), attributes and boxes instead of classes (CelebA, Kitti), and video.
SETS: dict[str, SetSpec] = {
    "CIFAR10": _by_flag("cifar-10-batches-py/"),
    "CIFAR100": _by_flag("cifar-100-python/"),
    "CLEVRClassification": _by_split(test="val"),
    "Caltech101": SetSpec(),
    "Caltech256": SetSpec(),
    "Country211": _by_split(validation="valid"),
    "DTD": _by_split(validation="val"),
    "EMNIST": _by_flag("EMNIST/raw/", split="balanced"),
    "EuroSAT": SetSpec(),
    "FER2013": _by_split(downloads=False, files="fer2013/"),
    "FGVCAircraft": _by_split(validation="val"),
    "FashionMNIST": _by_flag("FashionMNIST/raw/"),
    "Flowers102": _by_split(validation="val", files="flowers-102/"),
    "Food101": _by_split(files="food-101/"),
    "GTSRB": _by_split(files="gtsrb/"),
    "ImageNet": _by_split(test="val", downloads=False, files="ILSVRC2012_*.tar*"),
    "Imagenette": _by_split(test="val"),
    "KMNIST": _by_flag("KMNIST/raw/"),
    "MNIST": _by_flag("MNIST/raw/"),
    "Omniglot": SetSpec({"background": True}),
    "OxfordIIITPet": _by_split(train="trainval", files="oxford-iiit-pet/"),
    "PCAM": _by_split(validation="val", files="pcam/"),
    "Places365": _by_split(train="train-standard", test="val", small=True),
    "QMNIST": _by_flag("QMNIST/raw/"),
    "RenderedSST2": _by_split(validation="val"),
    "SEMEION": SetSpec(files="semeion.data"),
    "STL10": _by_split(files="stl10_binary/"),
    "SUN397": SetSpec(files="SUN397/"),
    "SVHN": _by_split(files="train_32x32.mat and test_32x32.mat"),
    "StanfordCars": _by_split(downloads=False, files="stanford_cars/"),
    "USPS": _by_flag("usps.bz2 and usps.t.bz2"),
}


def open_set(name: str, root: Path, download: bool) -> Parts:
    """The parts of the torchvision set `name` (a key of `SETS`), kept below `root`.

    EMNIST is its `balanced` variant, Places365 its small images, Omniglot its background alphabets.
    Integrity is checked by torchvision. It reads CIFAR's pickled batches only if their MD5 is that of the
    published files.
    Raises DataError naming the set and the root where the set is not there, damaged or cannot be downloaded.
    """
    before = {entry.name for entry in root.iterdir()} if root.is_dir() else None
    made = root.absolute()
    while not made.parent.exists():
        made = made.parent
    try:
        return _open_parts(name, root, download)
    except DataError:
        if download:
            _remove_attempt(root if before is not None else made, before)
        raise


def _remove_attempt(root: Path, before: set[str] | None) -> None:
    """Take away what a download that failed left: torchvision makes folders first and writes files in place."""
    if before is None:
        shutil.rmtree(root, ignore_errors=True)
        return
    for entry in root.iterdir():
        if entry.name not in before:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()


def _open_parts(name: str, root: Path, download: bool) -> Parts:
    spec = SETS[name]
    train = _open_part(name, "train", spec.train, root, download)
    validation = None
    if spec.validation is not None:
        validation = _open_part(name, "validation", spec.validation, root, download)
    test = None if spec.test is None else _open_part(name, "test", spec.test, root, download)
    return Parts(train, validation, test)


def _open_part(name: str, part: str, arguments: _Arguments, root: Path, download: bool) -> Table:
    try:
        dataset = _construct(name, arguments, root, download)
    except Exception as error:  # torchvision lets through whatever its readers and the network raise
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name}: torchvision could not {'read or download' if download else 'read'} its {part} split "
            f"in root {str(root)!r} ({cause})",
            _mend(name, root, download),
        ) from error

    def where(row: int) -> str:
        return f"{name} in {root}, {part} item {row}"

    return Table(
        name=f"{name} ({part})",
        labels=_labels(dataset, where),
        class_names=_class_names(dataset),
        read=lambda row: dataset[row][0],
        where=where,
    )


def torchvision_sets() -> tuple[str, ...]:
    """Names of all sets of this torchvision, whatever their task."""
    from torchvision import datasets  # seconds to import, and most runs have data of their own

    return tuple(getattr(datasets, "__all__", ()))


def _construct(name: str, arguments: _Arguments, root: Path, download: bool) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, name)
    options = dict(arguments)
    if SETS[name].downloads:
        options["download"] = download
    if "loader" in inspect.signature(kind).parameters:
        # torchvision's own loader decodes at once and turns grey into RGB.
        options["loader"] = Image.open
    return kind(str(root), **options)


def _mend(name: str, root: Path, download: bool) -> str:
    files = SETS[name].files
    place = f"place its files in {str(root)!r}" + (f" (torchvision looks for {files})" if files else "")
    if not SETS[name].downloads:
        return f"{place}; torchvision cannot download this set"
    return f"check the network, or offline: {place}" if download else f"{place}, or allow the download"


def _labels(dataset: Any, where: Callable[[int], str]) -> npt.NDArray[np.int64]:
    for attribute in ("targets", "labels", "y"):
        values = np.asarray(getattr(dataset, attribute, None))
        if values.shape == (len(dataset),) and np.issubdtype(values.dtype, np.integer):
            return values.astype(np.int64)
    labels = np.empty(len(dataset), dtype=np.int64)
    for row in range(len(dataset)):
        try:
            image, label = dataset[row]
        except Exception as error:
            raise DataError(f"{where(row)}: cannot be read ({error})", "place the set's files again") from error
        image.close()
        if label is None:
            raise DataError(f"{where(row)}: label is null", "use a copy of the set that has labels")
        labels[row] = label
    return labels


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if not names:
        return None
    return tuple(name if isinstance(name, str) else ", ".join(name) for name in names)
