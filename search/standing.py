"""Where a run stands, noted in ``standing.json`` of its folder by whoever drives it, for whoever watches.

The archive says what was found; it cannot say that the driver is still training the base network, that it was stopped,
or what it died of. This small file does, and every watcher reads it: no port is opened, and no process is asked.
"""

from __future__ import annotations

import fcntl
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from search.folder import RunFolder
from search.tracking_store import redact
from search.view import Course, View
from workers.atomic import replacing
from workers.evaluation import Evaluation

FILE = "standing.json"
PREPARING, SEARCHING, CONCLUDING = "preparing", "searching", "concluding"
FINISHED, STOPPED, FAILED, LOST = "finished", "stopped", "failed", "lost"
ENDED = (FINISHED, STOPPED, FAILED, LOST)

MOST_WARNINGS = 8
MOST_TEXT = 2000


@dataclass(frozen=True)
class Standing:
    """What the driver says of itself.

    Attributes:
        phase: preparing, searching, concluding; finished, stopped (by a person) or failed.
        host: name of the driver's machine.
        since: when this driver began, seconds since the epoch.
        noted: when this was written, in the same unit.
        doing: the last part of the story that began.
        course: what is expected of the search; None before it begins.
        warnings: the last few.
        error: why it failed.
        folder: which one it was written to; see :func:`identity`.
    """

    phase: str
    host: str
    since: float
    noted: float
    doing: str = ""
    course: Course | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""
    folder: str = ""


def read_standing(folder: RunFolder) -> Standing | None:
    """What the last driver of a run wrote; None where there is nothing that can be read.

    Watching a run goes on without it: only whoever drives a run writes here, and it is no part of the result.
    """
    try:
        return _ADAPTER.validate_json((folder.path / FILE).read_bytes())
    except (OSError, ValueError):
        return None


def phase_of(folder: RunFolder, standing: Standing | None) -> str:
    """Where a run stands by now: its standing, unless the folder knows better.

    A driver that was killed could not write that it was; but its lock is free. That says nothing in a copy of the
    folder or on another machine, where locks need not be seen: there the standing is taken at its word.
    """
    if standing is None:
        return SEARCHING if driven(folder) else FINISHED if folder.finished else LOST
    elsewhere = standing.host != socket.gethostname() or standing.folder not in ("", identity(folder.path))
    if standing.phase in ENDED or driven(folder) or elsewhere:
        return standing.phase
    return FINISHED if folder.finished else LOST


def identity(path: Path) -> str:
    """What tells a folder from its copies on the same machine, and stays where it is moved."""
    found = path.stat()
    return f"{found.st_dev}-{found.st_ino}"


def driven(folder: RunFolder) -> bool:
    """Whether a process of this machine drives the run."""
    try:
        with (folder.path / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever taken here, or the file system knows none
        return False


@contextmanager
def noted(folder: RunFolder, view: View) -> Iterator[View]:
    """A view that passes everything on to ``view`` and keeps the run's standing while the block lasts.

    Raises:
        Exception: whatever the block raises, once it is noted.
    """
    notes = _Notes(folder, view)
    try:
        yield notes
    except KeyboardInterrupt:
        notes.change(phase=STOPPED)
        raise
    except BaseException as error:
        text = redact(" ".join(str(error).split()))[:MOST_TEXT]
        notes.change(phase=FAILED, error=f"{type(error).__name__}: {text}" if text else type(error).__name__)
        raise
    notes.change(phase=FINISHED, doing="")


class _Notes:
    """The view behind :func:`noted`."""

    def __init__(self, folder: RunFolder, view: View) -> None:
        now = time.time()
        self._view, self._path = view, folder.path / FILE
        self._guard = threading.Lock()  # warnings come from other threads, too
        self._standing = Standing(PREPARING, socket.gethostname(), now, now, folder=identity(folder.path))
        self.change()

    def change(self, **changes: Any) -> None:
        with self._guard:
            self._standing = replace(self._standing, noted=time.time(), **changes)
            with replacing(self._path) as temporary:
                temporary.write_text(json.dumps(asdict(self._standing), indent=1), encoding="utf-8")

    def step(self, text: str) -> None:
        self._view.step(text)
        self.change(doing=redact(text)[:MOST_TEXT])

    def warn(self, text: str) -> None:
        self._view.warn(text)
        self.change(warnings=(*self._standing.warnings, redact(text)[:MOST_TEXT])[-MOST_WARNINGS:])

    def searching(self, course: Course) -> None:
        self._view.searching(course)
        self.change(phase=SEARCHING, course=course)

    def replayed(self, evaluation: Evaluation) -> None:
        self._view.replayed(evaluation)

    def committed(self, evaluation: Evaluation, under_way: int) -> None:
        self._view.committed(evaluation, under_way)

    def searched(self) -> None:
        self._view.searched()
        self.change(phase=CONCLUDING)


_ADAPTER = TypeAdapter(Standing)
