"""Images larger than memory: decoded once into a file that all processes of a machine map instead of holding it.

The kernel keeps those pages in memory that are in use and drops them when memory is wanted for something else. A file
is named after what it was decoded from, so that later runs on the same images find it; it may be deleted at any time
when no run uses it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.atomic import replacing
from workers.data.decode import Frame, decode_rows
from workers.data.errors import DataError
from workers.data.table import Table

DECODED_AT_A_TIME = 16 * 2**20
"""Bytes of decoded images held in memory before they are written."""


def stamp(paths: Iterable[Path]) -> str:
    """A text that changes when a file in or below ``paths`` does: by name, size and time of change."""
    digest = hashlib.sha256()
    for root in paths:
        for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
            status = path.stat()
            digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def decode_to_file(
    table: Table, rows: npt.NDArray[np.int64], frame: Frame, folder: Path, source: str
) -> npt.NDArray[np.uint8]:
    """As :func:`workers.data.decode.decode_rows`, in a file of ``folder`` that is mapped read-only.

    Args:
        source: what the table's images come from, see :func:`stamp`.

    Raises:
        DataError: an image cannot be decoded, or the disk has no room for all.
    """
    shape = (len(rows), frame.channels, frame.height, frame.width)
    key = hashlib.sha256(f"{source}\0{table.name}\0{shape}\0".encode() + rows.tobytes()).hexdigest()[:32]
    path = folder.resolve() / f"{key}.npy"
    if not path.exists():
        there = next(place for place in (path, *path.parents) if place.exists())
        size, free = int(np.prod(shape)), shutil.disk_usage(there).free
        if size > free:
            raise DataError(
                f"size {frame.height} × {frame.width}: {len(rows):,} images take {size / 1e9:,.1f} GB, more than "
                f"memory and the {free / 1e9:,.1f} GB free on the disk of {folder}",
                "make size or limit smaller, or keep runs on a larger disk",
            )
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            _decode(table, rows, frame, shape, temporary)
    return open_mapped(path)


def open_mapped(path: Path) -> npt.NDArray[np.uint8]:
    """The images in a file that :func:`decode_to_file` wrote; pages are read when they are looked at.

    Raises:
        DataError: it is not there.
    """
    try:
        mapped: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: the decoded images cannot be opened here ({error})",
            "keep runs (out) on storage that all machines of the cluster see, and resume",
        ) from error
    return mapped


def file_of(images: npt.NDArray[np.uint8]) -> Path | None:
    """The file whose images these are, all of them; ``None`` for an array in memory or a part."""
    if not isinstance(images, np.memmap) or images.filename is None:
        return None
    path = Path(images.filename)
    return path if images.offset + images.nbytes == path.stat().st_size else None


def _decode(table: Table, rows: npt.NDArray[np.int64], frame: Frame, shape: tuple[int, ...], temporary: Path) -> None:
    header = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
    offset = header.offset
    del header
    # In the order of the source, which reads that way fastest; written with seeks, so that no page stays with us.
    order = np.argsort(rows, kind="stable")
    with temporary.open("r+b") as file:
        count = max(1, DECODED_AT_A_TIME // int(np.prod(shape[1:])))
        for start in range(0, len(order), count):
            places = order[start : start + count]
            for place, image in zip(places.tolist(), decode_rows(table, rows[places], frame), strict=True):
                file.seek(offset + place * image.nbytes)
                file.write(image.tobytes())
