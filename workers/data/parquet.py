"""Parquet in the Hugging Face image convention: `image: struct<bytes, path>`, `label: int64`."""

from __future__ import annotations

import io
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from workers.data.errors import DataError
from workers.data.parquet_classes import class_names
from workers.data.table import Table


def open_parquet(files: list[Path]) -> Table:
    """The rows of `files`, one file after the other. Rows are counted from 0 within each file.

    Class names are read from the schema's metadata (see `parquet_classes`) and must agree between files.
    Images stay encoded on disk; one row group is held at a time.
    Raises DataError for a file that is not Parquet, columns that are missing or of another type,
    no rows, null labels and null images.
    """
    opened = [_open(file) for file in files]
    names = class_names(opened[0].schema_arrow, files[0])
    for file, parquet in zip(files, opened, strict=True):
        _check_columns(parquet.schema_arrow, file)
        if class_names(parquet.schema_arrow, file) != names:
            raise DataError(
                f"{file}: its class names differ from those of {files[0]}",
                "use one list of class names in all files",
            )
    labels = [_read_labels(parquet, file) for file, parquet in zip(files, opened, strict=True)]
    first_rows = [0, *accumulate(len(part) for part in labels)]
    name = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"
    if first_rows[-1] == 0:
        raise DataError(f"{name}: the file holds no rows", "write at least three images a class")

    def locate(row: int) -> tuple[int, int]:
        number = bisect_right(first_rows, row) - 1
        return number, row - first_rows[number]

    def where(row: int) -> str:
        number, local = locate(row)
        return f"{files[number]}, row {local}"

    readers = [_RowReader(parquet) for parquet in opened]

    def read(row: int) -> Image.Image:
        number, local = locate(row)
        content = readers[number].image_bytes(local)
        if content is None:
            raise DataError(f"{where(row)}: image is null", "remove the row, or embed the image file in image.bytes")
        return Image.open(io.BytesIO(content))

    return Table(name=name, labels=np.concatenate(labels), class_names=names, read=read, where=where)


class _RowReader:
    """Encoded images of one file by row, cheap when rows are asked for in order."""

    def __init__(self, parquet: pq.ParquetFile) -> None:
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]

        @lru_cache(maxsize=1)
        def group_bytes(group: int) -> pa.ChunkedArray:
            return pc.struct_field(
                parquet.read_row_group(group, columns=["image"], use_threads=False).column("image"), "bytes"
            )

        self._group_bytes = group_bytes

    def image_bytes(self, row: int) -> bytes | None:
        group = bisect_right(self._starts, row) - 1
        content: bytes | None = self._group_bytes(group)[row - self._starts[group]].as_py()
        return content


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: not a readable Parquet file ({str(error).splitlines()[0]})",
            "check that the file was copied whole, or write it again",
        ) from error


def _check_columns(schema: pa.Schema, file: Path) -> None:
    for column, wanted, fits in (
        ("image", "struct<bytes: binary, path: string>", _holds_bytes),
        ("label", "int64", pa.types.is_integer),
    ):
        if column not in schema.names:
            raise DataError(
                f"{file}: no column {column!r}, only {', '.join(schema.names)}",
                f"name the column {column!r}, of type {wanted}",
            )
        if not fits(schema.field(column).type):
            raise DataError(
                f"{file}: column {column!r} is of type {schema.field(column).type}", f"write it as {wanted}"
            )


def _holds_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    content = kind.field("bytes").type
    return bool(pa.types.is_binary(content) or pa.types.is_large_binary(content))


def _read_labels(parquet: pq.ParquetFile, file: Path) -> npt.NDArray[np.int64]:
    try:
        column = parquet.read(columns=["label"], use_threads=False).column("label")
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: column 'label' cannot be read ({reason})", "write the file again") from error
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{file}, row {row}: label is null", "give the row a label or remove it")
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{file}: column 'label' does not fit int64 ({error})", "number the classes 0, 1, 2, ..."
        ) from error
