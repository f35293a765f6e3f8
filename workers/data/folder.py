"""A folder of images, one sub-folder a class: `cats/1.png`, `dogs/7.jpg`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from workers.data.errors import DataError
from workers.data.table import Table

_LAYOUT = "lay it out as CLASS/NAME.png, one folder a class"


def open_folder(path: Path) -> Table:
    """Every image below `path`; a class is an immediate sub-folder, and classes are numbered by sorted name.

    Files are found at any depth below their class and taken in sorted order. Hidden files and files that
    have no image suffix known to PIL are passed over.
    Raises DataError for no images and for images outside of class folders.
    """
    class_folders = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(class_folders):
        images = [file for file in sorted(folder.rglob("*")) if _is_image(file)]
        files += images
        labels += [label] * len(images)

    stray = next((file for file in sorted(path.iterdir()) if _is_image(file)), None)
    if stray is not None:
        raise DataError(f"{stray}: this image is in no class folder", _LAYOUT)
    if not files:
        raise DataError(f"{path}: the folder holds no images", _LAYOUT)

    return Table(
        name=str(path),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(folder.name for folder in class_folders),
        read=lambda row: Image.open(files[row]),
        where=lambda row: str(files[row]),
    )


def _is_image(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() in _image_suffixes() and file.is_file()


@cache
def _image_suffixes() -> frozenset[str]:
    # PIL registers suffixes that it can only write (.pdf) as well.
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)
