"""Where a Parquet file keeps the names of its classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from workers.data.errors import DataError


def class_names(schema: pa.Schema, file: Path) -> tuple[str, ...] | None:
    """Class names in label order: a JSON list under the schema metadata key `class_names`, or else the
    `ClassLabel` names of Hugging Face's own `huggingface` key, or None where neither is there.

    Raises DataError for metadata that is not such a list, or that names a class twice.
    """
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        names = _parse(metadata[b"class_names"], "class_names", file)
    elif b"huggingface" in metadata:
        names = _hugging_face_names(_parse(metadata[b"huggingface"], "huggingface", file))
    else:
        return None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: the class names in the metadata are {names!r}", "write a JSON list of strings")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file}: class name {twice[0]!r} stands twice in the metadata", "give each class its own name")
    return tuple(names)


def _parse(text: bytes, key: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{file}: metadata key {key!r} is not JSON ({error})", "write it as JSON") from error


def _hugging_face_names(metadata: Any) -> Any:
    # Every level is optional: a file may be written by `datasets` and yet have no ClassLabel.
    for key in ("info", "features", "label", "names"):
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    return metadata
