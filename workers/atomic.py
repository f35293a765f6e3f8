"""A file appears whole or not at all: written beside its place under a hidden name, then renamed."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well the file written there becomes ``path``, durably.

    The temporary name starts with a dot and eight digits, keeps the suffix, and lies in the folder of ``path``, which
    is created if need be. When the block raises, ``path`` is as it was before; what a killed process left is for
    :func:`remove_leftovers`.

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


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes had begun to write in ``folder`` and below it; nobody may be writing there."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
