"""A run's folder published to storage while the run goes on, by a thread that is never in the search's way.

What storage shows can always be gone on with: a row stands there only when everything is there that was in the folder
when the row was committed (weights, members, states of finishes), and what later rows need no more goes only after
them. So each round takes down what is committed, sends the files, then the rows, then removes. Rows that were committed
since the last round are lost with the machine: a resumed search computes them again, to the same values.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Protocol

from search.archive import committed_parts
from search.folder import RunFolder
from search.lease import Lease, Superseded
from search.ledger import Ledger, mark, read_ledger
from search.storage import Place, StorageError, without_secrets
from search.view import View

ROUND_SECONDS = 1.0
LONGEST_WAIT = 30.0
"""Seconds between two attempts while storage does not answer, at most."""

CHECKPOINT_SECONDS = 30.0
"""A training's state is sent when it is under way for so long, and then as often: shorter ones are begun anew."""

END_SECONDS = 120.0
"""A finished run waits for its storage as long as something arrives there within so many seconds."""

STOP_SECONDS = 10.0
"""A run that was stopped waits no longer than this."""


class Mirror(Protocol):
    """What a driver asks of it."""

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files of the run's folder that nothing after the evaluations committed so far needs."""

    def check(self) -> None:
        """Raise :class:`search.lease.Superseded` where another driver took the run over."""

    def warn(self, view: View) -> None:
        """Warn ``view`` from now on, of a storage that does not answer."""


class NoMirror:
    """Of a run that is on this machine alone."""

    def remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    def check(self) -> None: ...

    def warn(self, view: View) -> None: ...


@contextmanager
def mirrored(folder: RunFolder, place: Place | None, storage: str | None, view: View) -> Iterator[Mirror]:
    """Publish ``folder`` to ``place`` while the block lasts, and what is left of it at the end.

    Args:
        place: of the run; ``None`` to publish nothing.
        storage: URI of the folder of runs, for the ledger.

    Raises:
        StorageError: storage does not answer at the start, or not all could be published in the end.
    """
    if place is None or storage is None:
        yield NoMirror()
        return
    publisher = Publisher(folder, place, storage, view)
    try:
        yield publisher
    except BaseException:
        publisher.stop()
        raise
    publisher.finish()


class Publisher:
    """The :class:`Mirror` behind :func:`mirrored`; it takes the run's lease, and lets go of it in the end."""

    def __init__(self, folder: RunFolder, place: Place, storage: str, view: View) -> None:
        self._folder, self._place, self._view, self._warned = folder, place, view, view
        self._lease = Lease(place)
        known = read_ledger(folder.path)
        there = place.names()
        self._ledger = known if known is not None and known.storage == storage else Ledger(storage)
        self._ledger.sent = {name: sent for name, sent in self._ledger.sent.items() if name in there}
        self._ledger.drivers = (*self._ledger.drivers[-99:], self._lease.driver)
        self._ledger.save(folder.path)  # before the lease: a folder must know every driver that storage may name
        self._lease.take()
        self._lost: Superseded | None = None
        self._problem = ""
        self._left = 0
        self._heard = time.monotonic()
        self._seen: dict[str, float] = {}
        self._going: list[Path] = []
        self._guard = threading.Lock()
        self._ending = threading.Event()
        # A daemon, so that a storage that accepts and then hangs cannot keep a driver from exiting.
        self._thread = threading.Thread(target=self._work, name="niwaki-storage", daemon=True)
        self._thread.start()

    def remove(self, paths: Iterable[Path]) -> None:
        """See :class:`Mirror`; they go when all that is committed by now is published."""
        with self._guard:
            self._going += paths

    def check(self) -> None:
        """See :class:`Mirror`."""
        if self._lost is not None:
            raise self._lost

    def warn(self, view: View) -> None:
        """See :class:`Mirror`."""
        self._warned = view

    def finish(self) -> None:
        """Wait until everything is published, the report included.

        Raises:
            StorageError: something could not be; or another driver took the run over.
        """
        self._view.step(f"publishing the run to {self._place.uri}")
        self._end(END_SECONDS)
        self.check()
        if self._thread.is_alive() or self._problem:
            raise StorageError(
                f"{self._problem or f'storage {self._place.uri}: does not answer'}. The run is finished and whole in "
                f"{self._folder.path}, {self._left or 'some'} of its files are not published; "
                f"`niwaki resume {self._folder.path}` publishes the rest when storage answers"
            )

    def stop(self) -> None:
        """Publish what can be published within a few seconds; of what is left it is only said so."""
        self._end(STOP_SECONDS)
        if self._thread.is_alive() or self._problem:
            self._warned.warn(
                f"storage {self._place.uri}: the last changes are not published; resume this run where it is"
            )

    def _end(self, patience: float) -> None:
        self._heard = time.monotonic()
        self._ending.set()
        while self._thread.is_alive() and time.monotonic() - self._heard < patience:
            self._thread.join(0.05)
        self._lease.release()

    def _work(self) -> None:
        wait = ROUND_SECONDS
        while True:
            ending = self._ending.is_set()
            try:
                self._round(ending)
                if self._problem:
                    self._warned.warn(f"storage {self._place.uri}: answers again; the run is published")
                self._problem, wait = "", ROUND_SECONDS
                if ending:
                    return
            except Superseded as error:
                self._lost = error
                return
            except Exception as error:  # of storage, or of this machine's disk: neither is the search's business
                text = str(error) if isinstance(error, StorageError) else without_secrets(error)
                if not self._problem:
                    self._warned.warn(f"{text}. The search goes on; what is new is published when storage answers")
                self._problem = text
                wait = min(2 * wait, LONGEST_WAIT if not ending else 2.0)
            self._ending.wait(wait) if not ending else time.sleep(min(wait, 2.0))

    def _round(self, ending: bool) -> None:
        """Publish what has changed; see the top of this file for why in this order."""
        if not self._folder.exists():
            raise FileNotFoundError(f"{self._folder.path}: the run's folder is gone")
        with self._guard:
            going = list(self._going)
        ended = self._ended_trainings()
        parts = committed_parts(self._folder.archive, self._archived()) if self._folder.archive.is_dir() else []
        changed = sorted(set(self._changed(ending)) - {self._name(path) for path in going}, key=_rank)
        self._left = len(changed) + len(parts) + len(going)
        if not (changed or parts or going or ended):
            return
        self._lease.check()
        for name in changed:
            if _rank(name)[0] < ROWS:
                self._send(name)
        for part in parts:
            self._put(f"archive/{part.name}", part.content(), part.mark)
        for name in changed:
            if _rank(name)[0] > ROWS:
                self._send(name)
        self._forget([self._name(path) for path in going] + ended)
        for path in going:
            path.unlink(missing_ok=True)
        with self._guard:
            del self._going[: len(going)]
        self._ledger.save(self._folder.path)

    def _changed(self, ending: bool) -> Iterator[str]:
        """Names of files that storage has in another version or not at all."""
        for name, found in _files(self._folder.path):
            if self._ledger.sent.get(name) == found:
                continue
            if name.startswith("report/") and not ending:
                continue  # written piece by piece in the end
            if _is_state(name) and not ending and not self._due(name):
                continue
            yield name

    def _due(self, name: str) -> bool:
        """Whether a training's state is worth sending: of a long one; or where a leg is over that others go on from."""
        if (self._folder.path / name).with_suffix(".json").exists():
            return True
        now = time.monotonic()
        return now - self._seen.setdefault(name, now) >= CHECKPOINT_SECONDS

    def _ended_trainings(self) -> list[str]:
        """States of trainings that are gone from the folder: what they led to lies there."""
        states = [name for name in self._ledger.sent if name.startswith("weights/") and _is_state(name)]
        return [name for name in states if not (self._folder.path / name).exists()]

    def _name(self, path: Path) -> str:
        return str(PurePosixPath(path.absolute().relative_to(self._folder.path.absolute())))

    def _archived(self) -> dict[str, str]:
        sent = self._ledger.sent.items()
        return {name.removeprefix("archive/"): found for name, found in sent if name.startswith("archive/")}

    def _send(self, name: str) -> None:
        path = self._folder.path / name
        try:
            found = mark(path)
            content = path.read_bytes()
        except FileNotFoundError:
            return  # a training ended, and its state went
        self._put(name, content, found)
        self._seen[name] = time.monotonic()

    def _put(self, name: str, content: bytes, found: str) -> None:
        self._place.write(name, content)
        self._ledger.sent[name] = found
        self._heard = time.monotonic()
        self._left -= 1

    def _forget(self, names: list[str]) -> None:
        for name in names:
            if name in self._ledger.sent:
                self._place.remove(name)
                del self._ledger.sent[name]
                self._heard = time.monotonic()


ROWS = 3


def _rank(name: str) -> tuple[int, str]:
    """Where a file comes in a round, those of the archive (:data:`ROWS`) in the middle."""
    if name in ("config.yaml", "run.json"):
        return 0, name
    if name == "standing.json":
        return 6, name
    if name == "report/measurements.json":
        return 5, name  # where it is, the run is finished
    if name.startswith("report/"):
        return 4, name
    return 2 if name.endswith(".json") else 1, name  # a leg's record says that its weights and state are there


def _is_state(name: str) -> bool:
    return name.endswith(".checkpoint")


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and marks of a run's files, but for the archive's, hidden ones, and what Ray Tune keeps for itself."""
    for place, folders, files in os.walk(folder):
        within = PurePosixPath(Path(place).relative_to(folder))
        folders[:] = [f for f in folders if not f.startswith(".") and str(within / f) != "archive" and f != "tune"]
        for file in files:
            if not file.startswith("."):
                with suppress(FileNotFoundError):  # replaced or removed since
                    yield str(within / file), mark(Path(place, file))
