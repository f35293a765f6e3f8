"""A file appears whole or not at all: written beside its place under a hidden name, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well the file written there becomes ``path``, durably.

    The temporary name starts with a dot (so that ``*.safetensors`` never finds it), keeps the suffix, and lies in
    the folder of ``path``, which is created if need be. When the block raises, ``path`` is as it was before.

    Raises:
        OSError: the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(4)}.{path.name}"
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        flush(path.parent)  # the rename itself lives in the folder; elsewhere folders cannot be opened


def flush(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
