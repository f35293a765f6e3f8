"""The archive of a run: every committed evaluation, durable at once and readable as Parquet while the run goes on.

Rows are appended to a journal (one checksummed JSON line and one fsync for every batch of commits, so that what a crash
tears is a batch that was never committed). A Parquet part beside it is rewritten about once a second, whole and
atomically; when it is full it is sealed and its journal goes. Readers see ``archive/part-*.parquet``; the driver trusts
its journal first.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from search.schema import SCHEMA, SCHEMA_VERSION, from_row, to_row
from workers.atomic import flush, replacing
from workers.evaluation import Evaluation

ROWS_PER_PART = 1024
PUBLISH_SECONDS = 1.0
SEALED = "sealed"
"""The mark of a part that never changes again."""


class ArchiveError(RuntimeError):
    """The archive cannot be read: it says which file, and what to do."""


class Archive:
    """The archive in ``folder``, created if need be; a torn last batch is dropped on opening.

    One driver at a time: the caller holds the run's lock.

    Raises:
        ArchiveError: committed rows are damaged or missing, or another schema version wrote them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._published_at = 0.0
        journals = _starts(folder, "_journal", "jsonl")
        self._start = journals[-1] if journals else _end(folder)
        _check_sealed(folder, self._start)
        self._rows, sound = _read_journal(self._journal_path()) if journals else ([], 0)
        self._unpublished = bool(self._rows)  # the part may lag behind what a killed driver left in the journal
        self._journal = self._open_journal(sound)
        for start in journals[:-1]:  # left by a driver that died between sealing a part and removing its journal
            _journal_path(folder, start).unlink()

    def append(self, evaluations: list[Evaluation]) -> None:
        """Make evaluations durable: they are on disk when this returns."""
        now = time.time()
        rows = [to_row(evaluation, now) for evaluation in evaluations]
        self._journal.write(_line(rows))
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
            _write_part(_part_path(self.folder, self._start), self._rows)
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
                yield from map(from_row, _read_part(_part_path(self.folder, start)).to_pylist())
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
        self._journal = self._open_journal(0)
        finished.unlink()

    def _open_journal(self, sound: int) -> BinaryIO:
        journal = self._journal_path().open("ab")
        journal.truncate(sound)
        flush(self.folder)
        return journal

    def _journal_path(self) -> Path:
        return _journal_path(self.folder, self._start)


def read_archive(folder: Path) -> pa.Table:
    """All published rows of a run's archive, also while the run goes on: all but those of about the last second.

    Raises:
        ArchiveError: there is none, a part is damaged, or another schema version wrote it.
    """
    if not folder.is_dir():
        raise ArchiveError(f"{folder}: no archive there; is this the folder of a run?")
    parts = [_read_part(_part_path(folder, start)) for start in _starts(folder, "part", "parquet")]
    return pa.concat_tables(parts or [SCHEMA.empty_table()])


@dataclass(frozen=True)
class Part:
    """A Parquet part of an archive as it stands: ``mark`` changes when rows are added, ``content`` makes the file."""

    name: str
    mark: str
    content: Callable[[], bytes]


def committed_parts(folder: Path, known: Mapping[str, str]) -> list[Part]:
    """The parts that a copy of the archive lacks, in order, with every row that is durable by now.

    The last is made from the journal, so nothing has to be committed after a row for it to be in there. Any thread may
    ask while the driver writes.

    Args:
        known: marks of the parts that the copy has, by name.

    Raises:
        ArchiveError: the archive is damaged.
    """
    while True:
        journals = _starts(folder, "_journal", "jsonl")
        starts = _starts(folder, "part", "parquet")
        last = journals[-1] if journals else sys.maxsize
        sealed = [_part_path(folder, start) for start in starts if start < last]
        parts = [Part(path.name, SEALED, path.read_bytes) for path in sealed if known.get(path.name) != SEALED]
        if not journals:
            return parts
        journal, name = _journal_path(folder, last), _part_path(folder, last).name
        try:
            if known.get(name) == str(journal.stat().st_size):
                return parts
            rows, sound = _read_journal(journal)
        except FileNotFoundError:
            continue  # sealed since the folder was listed
        if rows and known.get(name) != str(sound):
            parts.append(Part(name, str(sound), partial(_part_bytes, rows)))
        return parts


def check_archive(folder: Path) -> None:
    """Read the archive in ``folder`` as a driver would, and change nothing; a folder without one is in order.

    Raises:
        ArchiveError: committed rows are damaged or missing, or another schema version wrote them.
    """
    journals = _starts(folder, "_journal", "jsonl")
    start = journals[-1] if journals else _end(folder)
    _check_sealed(folder, start)
    if not journals:
        return
    journal, part = _journal_path(folder, start), _part_path(folder, start)
    rows, _ = _read_journal(journal)
    published = _read_part(part).num_rows if part.exists() else 0
    if published > len(rows):
        raise ArchiveError(
            f"{journal}: damaged: it holds {len(rows)} rows, {part.name} beside it {published}; restore it from a copy"
        )


def read_rows(path: Path) -> pa.Table:
    """A Parquet file of rows, checked against its checksums.

    Read by this thread alone: Arrow's pool can abort a process that ends soon after it was woken (apache/arrow#34314).

    Raises:
        ArrowException, OSError: it is damaged, or cannot be read.
    """
    content = pa.BufferReader(path.read_bytes())  # whole and at once: the path may be replaced while it is read
    return pq.ParquetFile(content, page_checksum_verification=True).read(use_threads=False)


def _read_part(path: Path) -> pa.Table:
    try:
        table = read_rows(path)
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(f"{path}: damaged ({' '.join(str(error).split())}); restore it from a copy") from error
    _check_version(path, (table.schema.metadata or {}).get(b"niwaki_schema", b"?").decode())
    return table


def _check_sealed(folder: Path, end: int) -> None:
    """Refuse an archive whose parts before row ``end`` do not follow each other without a gap."""
    rows = 0
    for start in _starts(folder, "part", "parquet"):
        if start < end and start == rows:
            rows += _read_part(_part_path(folder, start)).num_rows
    if rows != end:
        raise ArchiveError(f"{folder}: the rows from {rows} to {end - 1} are missing; restore them from a copy")


def _end(folder: Path) -> int:
    """Rows of an archive that has no journal, only parts."""
    parts = _starts(folder, "part", "parquet")
    return parts[-1] + _read_part(_part_path(folder, parts[-1])).num_rows if parts else 0


def _check_version(path: Path, version: object) -> None:
    if str(version) != str(SCHEMA_VERSION):
        raise ArchiveError(
            f"{path}: schema version {version}, this Niwaki reads {SCHEMA_VERSION}; use the version that wrote it"
        )


def _line(rows: list[dict[str, Any]]) -> bytes:
    text = json.dumps({"schema": SCHEMA_VERSION, "rows": rows}, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_journal(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The journal's rows, and how many of its bytes are sound."""
    content = path.read_bytes()
    rows: list[dict[str, Any]] = []
    sound = 0
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            checksum, text = line.split(b" ", 1)
            if int(checksum, 16) != zlib.crc32(text[:-1]) or not line.endswith(b"\n"):
                raise ValueError("checksum")
            batch = json.loads(text)
        except ValueError:
            if sound + len(line) < len(content):
                raise ArchiveError(f"{path}: line {number} is damaged; restore the file from a copy") from None
            break  # torn by a crash while it was written: it was never committed
        _check_version(path, batch["schema"])
        rows += batch["rows"]
        sound += len(line)
    return rows, sound


def _write_part(path: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(_part_bytes(rows))


def _part_bytes(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _part_path(folder: Path, start: int) -> Path:
    return folder / f"part-{start:09d}.parquet"


def _journal_path(folder: Path, start: int) -> Path:
    # Arrow, Spark and DuckDB skip what begins with an underscore: the folder stays readable as one Parquet data set.
    return folder / f"_journal-{start:09d}.jsonl"


def _starts(folder: Path, kind: str, ending: str) -> list[int]:
    return sorted(int(p.stem.split("-")[1]) for p in folder.glob(f"{kind}-*.{ending}"))
