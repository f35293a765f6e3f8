"""The story of loading a data set: find it, check its labels, draw the splits, decode what they hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from workers.data.checks import check_parts, check_request
from workers.data.dataset import Images, Splits
from workers.data.decode import Frame, decode_rows, measure_frame
from workers.data.errors import DataError
from workers.data.mapped import decode_to_file, stamp
from workers.data.sources import open_source
from workers.data.split import limit_parts, split_rows
from workers.data.table import Parts, Table

SHARE_OF_MEMORY = 0.25
"""Sets that take more of the free memory go to files: the object store and evaluations need room as well."""


@dataclass(frozen=True)
class DataRequest:
    """Which data set, and how to cut it.

    source: `digits`; the class name of a torchvision classification set; a folder (`CLASS/NAME.png`, also
        below `train/`, `test/` and `val/`); a Parquet file or a folder of them. Names come before paths.
    test: another such string; its test split, or else all of it, replaces the source's own test split.
    root: the folder where torchvision keeps its sets.
    size: side in pixels that every image is resized to; None keeps a common size, and otherwise takes the
        median side, at most 224.
    validation_fraction, test_fraction: of all images of the source, for a split that it does not bring along.
    limit: the most images of training and validation together, drawn from each class in proportion. The test
        split is left whole, so results with different limits are comparable.
    download: whether torchvision may download.
    cache: folder for decoded images where they would take more than a quarter of the free memory; None holds them in
        memory, whatever they take.
    seed: of the splits; the same seed, source and settings give the same splits on every machine.
    """

    source: str
    test: str | None = None
    root: str = "data"
    size: int | None = None
    validation_fraction: float = 0.2
    test_fraction: float = 0.2
    limit: int | None = None
    download: bool = True
    seed: int = 0
    cache: Path | None = None


def load_splits(request: DataRequest) -> Splits:
    """The images of `request`, decoded once, as uint8 in memory or, where that is small, in files.

    Labels and settings are checked before anything is decoded, and only images that are kept are decoded.
    Raises DataError, naming the field, file or row and the mend, for whatever cannot be used.
    """
    check_request(request)
    parts = check_parts(_find_parts(request))
    drawn = _draw(parts, request)
    learned = [parts.train] if parts.validation is None else [parts.train, parts.validation]
    frame = measure_frame(learned, [] if parts.test is None else [parts.test], request.size)
    needed, free = sum(len(rows) for _, rows in drawn) * frame.bytes, psutil.virtual_memory().available
    if request.cache is not None and needed > SHARE_OF_MEMORY * free:
        source = stamp(_places(request))
        return Splits(
            *(
                Images(
                    decode_to_file(table, rows, frame, request.cache, source),
                    table.labels[rows],
                    table.class_names or (),
                )
                for table, rows in drawn
            )
        )
    _check_room(needed, free, frame)
    return Splits(*(_decode(table, rows, frame) for table, rows in drawn))


def _find_parts(request: DataRequest) -> Parts:
    root = Path(request.root).expanduser()
    parts = _open("source", request.source, root, request.download)
    if request.test is None:
        return parts
    other = _open("test", request.test, root, request.download)
    if other.test is None and _same_place(request.source, request.test):
        raise DataError(f"test is {request.test!r}, the training images themselves", "leave it out to split them")
    return replace(parts, test=other.train if other.test is None else other.test)


def _open(field: str, source: str, root: Path, download: bool) -> Parts:
    try:
        return open_source(source, root, download)
    except DataError as error:
        raise DataError(f"{field}: {error}") from error


def _same_place(source: str, test: str) -> bool:
    return source == test or Path(source).expanduser().resolve() == Path(test).expanduser().resolve()


def _draw(parts: Parts, request: DataRequest) -> list[tuple[Table, npt.NDArray[np.int64]]]:
    """Training, validation and test: each a table and its chosen rows."""
    test_fraction = request.test_fraction if parts.test is None else 0.0
    if parts.validation is None:
        rows = split_rows(parts.train.labels, request.seed, request.validation_fraction, test_fraction, request.limit)
        drawn = [(parts.train, rows.train), (parts.train, rows.validation)]
    else:
        rows = split_rows(parts.train.labels, request.seed, test_fraction=test_fraction)
        train, validation = limit_parts(
            parts.train.labels[rows.train], parts.validation.labels, request.limit, request.seed
        )
        drawn = [(parts.train, rows.train[train]), (parts.validation, validation)]
    own_test = parts.test
    return [*drawn, (parts.train, rows.test) if own_test is None else (own_test, np.arange(len(own_test)))]


def _places(request: DataRequest) -> list[Path]:
    """Where the images lie: what they were decoded from."""
    root = Path(request.root).expanduser()
    named = [Path(source).expanduser() for source in (request.source, request.test) if source is not None]
    return [path if path.exists() else root for path in named]


def _check_room(needed: int, free: int, frame: Frame) -> None:
    if needed > free:
        raise DataError(
            f"size {frame.height} × {frame.width}: {needed // frame.bytes:,} images take {needed / 1e9:,.1f} GB and "
            f"{free / 1e9:,.1f} GB of memory are free",
            "make size or limit smaller",
        )


def _decode(table: Table, rows: npt.NDArray[np.int64], frame: Frame) -> Images:
    return Images(decode_rows(table, rows, frame), table.labels[rows], table.class_names or ())
