"""The archive of a run: every committed evaluation, durable at once and readable as Parquet while the run goes on.

Rows are appended to a journal (one checksummed JSON line each, an fsync behind every batch of commits). A Parquet part
beside it is rewritten about once a second, whole and atomically; when it is full it is sealed and its journal goes.
Readers see ``archive/part-*.parquet``; the driver trusts journals first.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from search.schema import SCHEMA, SCHEMA_VERSION, from_row, to_row
from workers.evaluation import Evaluation

ROWS_PER_PART = 1024
PUBLISH_SECONDS = 1.0


class ArchiveError(RuntimeError):
    """The archive cannot be read: it says which file, and what to do."""


class Archive:
    """The archive in ``folder``, created if need be; a torn last row is dropped on opening.

    Raises:
        ArchiveError: a row before the last one is damaged, or another schema version wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._published_at = 0.0
        self._unpublished = False
        starts = _starts(folder, "journal", "jsonl")
        self._start = starts[-1] if starts else _count_sealed(folder)
        self._rows = _read_journal(self._journal_path()) if starts else []
        self._journal = self._open_journal()

    def append(self, evaluations: list[Evaluation]) -> None:
        """Make evaluations durable: they are on disk when this returns."""
        now = time.time()
        rows = [to_row(evaluation, now) for evaluation in evaluations]
        self._journal.write(b"".join(map(_line, rows)))
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._rows.extend(rows)
        self._unpublished = True
        if len(self._rows) >= ROWS_PER_PART:
            self._seal()
        elif time.monotonic() - self._published_at > PUBLISH_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Bring the Parquet part up to date with the journal."""
        if self._unpublished:
            _write_part(self._part_path(), self._rows)
            self._published_at = time.monotonic()
            self._unpublished = False

    def close(self) -> None:
        """Publish, and let go of the journal."""
        self.publish()
        self._journal.close()

    def __len__(self) -> int:
        return self._start + len(self._rows)

    def evaluations(self) -> Iterator[Evaluation]:
        """All committed evaluations in number order."""
        for start in _starts(self.folder, "part", "parquet"):
            if start < self._start:
                yield from map(from_row, pq.read_table(self.folder / _part_name(start)).to_pylist())
        yield from map(from_row, list(self._rows))

    def table(self) -> pa.Table:
        """All committed rows."""
        self.publish()
        return read_archive(self.folder)

    def _seal(self) -> None:
        self.publish()
        finished = self._journal_path()
        self._journal.close()
        self._start += len(self._rows)
        self._rows = []
        self._journal = self._open_journal()
        finished.unlink()

    def _open_journal(self) -> BinaryIO:
        path = self._journal_path()
        sound = sum(len(_line(row)) for row in self._rows)
        if path.exists() and path.stat().st_size > sound:
            os.truncate(path, sound)
        journal = path.open("ab")
        _sync_folder(self.folder)
        return journal

    def _journal_path(self) -> Path:
        return self.folder / f"journal-{self._start:09d}.jsonl"

    def _part_path(self) -> Path:
        return self.folder / _part_name(self._start)


def read_archive(folder: Path) -> pa.Table:
    """All published rows of a run's archive, also while the run goes on.

    Raises:
        ArchiveError: there is none, or a part is damaged.
    """
    parts = _starts(folder, "part", "parquet")
    if not folder.is_dir():
        raise ArchiveError(f"{folder}: no archive there; is this the folder of a run?")
    try:
        return pa.concat_tables(
            [pq.read_table(folder / _part_name(s), schema=SCHEMA) for s in parts] or [SCHEMA.empty_table()]
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise ArchiveError(f"{folder}: a part of the archive is damaged ({error}); restore it from a copy") from error


def _line(row: dict[str, Any]) -> bytes:
    text = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_journal(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    rows: list[dict[str, Any]] = []
    for i, line in enumerate(lines):
        try:
            checksum, text = line.split(b" ", 1)
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError("checksum")
            rows.append(json.loads(text))
        except ValueError:
            if any(lines[i + 1 :]):
                raise ArchiveError(f"{path}: line {i + 1} is damaged; restore the file from a copy") from None
            break  # torn by a crash while it was written: it was never committed
    return rows


def _write_part(path: Path, rows: list[dict[str, Any]]) -> None:
    temporary = path.with_name("." + path.name)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part_name(start: int) -> str:
    return f"part-{start:09d}.parquet"


def _starts(folder: Path, kind: str, ending: str) -> list[int]:
    return sorted(int(p.stem.split("-")[1]) for p in folder.glob(f"{kind}-*.{ending}"))


def _count_sealed(folder: Path) -> int:
    """Rows in the parts of an archive without a journal; also where its schema version is checked."""
    total = 0
    for start in _starts(folder, "part", "parquet"):
        metadata = pq.read_metadata(folder / _part_name(start))
        version = (pq.read_schema(folder / _part_name(start)).metadata or {}).get(b"niwaki_schema", b"?").decode()
        if version != str(SCHEMA_VERSION):
            raise ArchiveError(
                f"{folder}: schema version {version}, this Niwaki reads {SCHEMA_VERSION}; use the version that wrote it"
            )
        total = start + metadata.num_rows
    return total
