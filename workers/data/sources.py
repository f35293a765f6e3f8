"""From the one string that names a data set to its parts."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from workers.data.digits import open_digits
from workers.data.errors import DataError, some
from workers.data.folder import open_folder
from workers.data.parquet import open_parquet
from workers.data.table import Parts, Table
from workers.data.torchvision_sets import SETS, open_set, torchvision_sets

_PART_OF_NAME = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def open_source(source: str, root: Path, download: bool) -> Parts:
    """The parts of `digits`, a torchvision set, a folder of images, or a Parquet file or folder.

    Names of sets come before paths: a folder called `MNIST` is `./MNIST`.
    Raises DataError for anything else, with the nearest name, and what each kind of source refuses.
    """
    try:
        return _open(source, root, download)
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) and len(error.filename) < 300 else f"{source[:100]}"
        raise DataError(
            f"{place}: cannot be read ({error.strerror or error})", "check the path and its permissions"
        ) from error


def _open(source: str, root: Path, download: bool) -> Parts:
    if source == "digits":
        return open_digits()
    if source in SETS and source in torchvision_sets():
        return open_set(source, root, download)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_directory(path)
    if path.is_file():
        return Parts(open_parquet([path]))
    raise _unknown(source, path)


def _open_directory(path: Path) -> Parts:
    folders: dict[str, Path] = {}
    for child in sorted(path.iterdir()):
        part = _PART_OF_NAME.get(child.name)
        if child.is_dir() and part is not None:
            if part in folders:
                raise DataError(f"{path}: both {folders[part].name!r} and {child.name!r} are there", "keep one of them")
            folders[part] = child
    if "train" in folders and len(folders) > 1:
        return _parts({part: _open_table(folder) for part, folder in folders.items()})
    files = _parquet_files(path)
    return _open_parquet_files(path, files) if files else Parts(open_folder(path))


def _open_parquet_files(path: Path, files: list[Path]) -> Parts:
    """Files named for a split (`train-00000-of-00002.parquet`, `digits-test.parquet`) are that split."""
    by_part: dict[str, list[Path]] = {}
    for file in files:
        words = {_PART_OF_NAME[word] for word in re.split(r"[-_.]", file.stem) if word in _PART_OF_NAME}
        by_part.setdefault(words.pop() if len(words) == 1 else "", []).append(file)
    if len(by_part) == 1:
        return Parts(open_parquet(files))
    if "" in by_part or "train" not in by_part:
        # Pooling these would let test images into training.
        odd = by_part.get("", files)
        raise DataError(
            f"{path}: some Parquet files are named for a split but {some([file.name for file in odd])} "
            f"{'are' if len(odd) > 1 else 'is'} not for training",
            "name all files for train, validation or test, or none",
        )
    return _parts({part: open_parquet(chosen) for part, chosen in by_part.items()})


def _open_table(folder: Path) -> Table:
    files = _parquet_files(folder)
    return open_parquet(files) if files else open_folder(folder)


def _parquet_files(folder: Path) -> list[Path]:
    # Hugging Face repositories keep their files in `data/`.
    return _visible(folder) or _visible(folder / "data")


def _visible(folder: Path) -> list[Path]:
    # Hidden ones are unfinished downloads, or what macOS keeps beside a file.
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _parts(tables: dict[str, Table]) -> Parts:
    return Parts(tables["train"], tables.get("validation"), tables.get("test"))


def _unknown(source: str, path: Path) -> DataError:
    if len(path.parts) > 1 or path.suffix:
        return DataError(f"{source}: no such file or folder", f"check the path; it is seen from {str(Path.cwd())!r}")
    if source in torchvision_sets():
        return DataError(
            f"{source}: this torchvision set is not a plain classification set",
            "choose another, or save its images as a folder with one sub-folder a class",
        )
    names = {name.lower(): name for name in ("digits", *SETS)}
    (nearest,) = difflib.get_close_matches(source.lower(), names, n=1, cutoff=0.0)
    return DataError(
        f"{source!r} is no known data set and no path that exists; the nearest name is {names[nearest]!r}",
        "give digits, a torchvision classification set's class name, a folder of images or a Parquet file",
    )
