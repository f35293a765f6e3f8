"""The run's folder as a worker process has it: the folder itself, or, on a machine that does not see it, copies.

The driver's machine hands files out and takes them in (:class:`Keeper`); what a worker there reads is fetched before,
what it wrote is handed over before its result is, so that a result never speaks of a file that the driver lacks.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workers.atomic import replacing

STATE = ".checkpoint"
"""Ending of files that a training goes on from; any version of one will do."""

STATE_SECONDS = 30.0
"""Least time between two versions of a training's state that are handed over."""


class Detached(SystemExit):
    """The driver's machine cannot be asked any more. The process ends, and its evaluation is run elsewhere.

    A ``SystemExit``, so that nobody takes it for a failure of the candidate.
    """


class Keeper(Protocol):
    """Who has the run's folder. Names are relative to it."""

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Time of change in nanoseconds and size of a file; ``None`` where there is none."""

    def read(self, name: str) -> bytes | None:
        """A file's content."""

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole and durably."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


@dataclass(frozen=True)
class FolderKeeper:
    """The :class:`Keeper` on the driver's machine."""

    folder: Path

    def stamp(self, name: str) -> tuple[int, int] | None:
        try:
            found = self._of(name).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    def read(self, name: str) -> bytes | None:
        try:
            return self._of(name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        with replacing(self._of(name)) as temporary:
            temporary.write_bytes(content)

    def remove(self, name: str) -> None:
        self._of(name).unlink(missing_ok=True)

    def _of(self, name: str) -> Path:
        if os.path.isabs(name) or ".." in Path(name).parts:
            raise ValueError(f"{name}: not a file of the run's folder")
        return self.folder / name


@dataclass(frozen=True)
class Shelf:
    """A process's way to the files of a run.

    Attributes:
        folder: where they are here.
        origin: where they are on the driver's machine; the names that driver and workers tell each other.
        keeper: whom to ask for them; ``None`` where ``folder`` is the run's own.
    """

    folder: Path
    origin: Path
    keeper: Keeper | None = None
    _handed_over: dict[str, float] = field(default_factory=dict, repr=False)

    def here(self, path: Path) -> Path:
        """The file of this machine for one that the driver names."""
        return self.folder / path.relative_to(self.origin)

    def there(self, path: Path) -> Path:
        """The driver's name for a file of this machine."""
        return self.origin / path.relative_to(self.folder)

    def fetch(self, *paths: Path) -> None:
        """Make sure that files of this machine are those that the driver has.

        What the driver has not goes here as well: it was left by a process that did not come to hand it over. A state
        that a training goes on from stays, whoever has another.
        """
        if self.keeper is not None:
            for path in paths:
                self._fetch(path, self.keeper)

    def hand_over(self, *paths: Path) -> None:
        """Let the driver have files as they are now; it has them when this returns."""
        if self.keeper is not None:
            for path in paths:
                self.keeper.write(self._name(path), path.read_bytes())
                stamp = self.keeper.stamp(self._name(path))
                if stamp is not None:
                    os.utime(path, ns=(stamp[0], stamp[0]))

    def hand_over_at_times(self, path: Path) -> Callable[[int], None]:
        """A function to call after each epoch of a training: it hands its state over, but not too often."""
        begun = time.monotonic()

        def after_epoch(_: int) -> None:
            now = time.monotonic()
            if now - self._handed_over.get(self._name(path), begun) >= STATE_SECONDS and path.exists():
                self._handed_over[self._name(path)] = now
                self.hand_over(path)

        return after_epoch

    def remove(self, path: Path) -> None:
        """Remove a file here and there."""
        path.unlink(missing_ok=True)
        if self.keeper is not None:
            self.keeper.remove(self._name(path))

    def _fetch(self, path: Path, keeper: Keeper) -> None:
        name = self._name(path)
        if path.suffix == STATE and path.exists():
            return
        stamp = keeper.stamp(name)
        if path.exists() and stamp == (path.stat().st_mtime_ns, path.stat().st_size):
            return
        content = None if stamp is None else keeper.read(name)
        if stamp is None or content is None:
            path.unlink(missing_ok=True)
            return
        with replacing(path) as temporary:
            temporary.write_bytes(content)
            os.utime(temporary, ns=(stamp[0], stamp[0]))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def shelf_for(folder: Path, run: str, keeper: Keeper | None) -> Shelf:
    """The way to the run's ``folder`` from this process.

    Args:
        run: the run's id, by which its folder is known here; empty where every process sees it.
        keeper: whom a machine may ask that does not see it.

    Raises:
        FileNotFoundError: this machine does not see it, and there is nobody to ask.
    """
    if not run or _is_run(folder, run):
        return Shelf(folder, folder)
    if keeper is None:
        raise FileNotFoundError(f"{folder}: this machine does not see the run's folder")
    return Shelf(_own_folder() / run / "run", folder, keeper)


def _is_run(folder: Path, run: str) -> bool:
    try:
        return bool(json.loads((folder / "run.json").read_bytes())["id"] == run)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _own_folder() -> Path:
    """A folder of this machine that is nobody else's to write to."""
    path = Path(tempfile.gettempdir()) / f"niwaki-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or path.is_symlink():
        return Path(tempfile.mkdtemp(prefix="niwaki-"))
    return path
