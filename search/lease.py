"""Who drives a run, noted in storage: a driver that is at work keeps a second one out, as far as storage lets it.

Storage knows no locks. The driver renews a small object every few seconds; who finds it renewed stays away, who finds
it unchanged for some time takes over, and a driver that finds another's name in it publishes nothing more. Two that
start within the same second can both go on, and then compute and write the same rows, since a search is a function of
its configuration and seed: what they may disagree in are wall-clock columns and time limits.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter

from search.loading import ConfigError
from search.storage import Place, StorageError

FILE = "driver.json"
BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 20.0
"""A driver that has not renewed its lease for so long is taken for dead."""


@dataclass(frozen=True)
class Holder:
    """The driver that a run's storage names; ``beat`` counts its renewals, ``ended`` says that it let go."""

    driver: str
    host: str
    beat: int = 0
    ended: bool = False


class Superseded(StorageError):
    """Another driver took the run over."""


def read_holder(place: Place) -> Holder | None:
    """Who drives the run, or did; ``None`` where nobody is named.

    Raises:
        StorageError: storage does not answer.
    """
    content = place.read(FILE)
    try:
        return None if content is None else _ADAPTER.validate_json(content)
    except ValueError:
        return None


def wait_until_free(place: Place, tell: Callable[[str], None]) -> Holder | None:
    """Return when nobody drives the run, with who did last; a driver that was killed is waited for, in vain.

    Args:
        tell: called where there is something to wait for.

    Raises:
        ConfigError: somebody does.
        StorageError: storage does not answer.
    """
    first = read_holder(place)
    deadline = time.monotonic() + PATIENCE_SECONDS
    if first is not None and not first.ended:
        tell(f"the last driver, on {first.host}, did not say that it ended: {PATIENCE_SECONDS:g} s for a sign of it")
    while (holder := read_holder(place)) is not None and not holder.ended and time.monotonic() < deadline:
        if holder != first:
            raise ConfigError(f"{place.uri}: a driver on {holder.host} runs this search; wait for it, or stop it")
        time.sleep(min(1.0, PATIENCE_SECONDS / 4))
    return holder


@dataclass
class Lease:
    """The lease of this process on the run in ``place``; renewed by a thread of its own from :meth:`take` on."""

    place: Place
    driver: str = field(default_factory=lambda: uuid.uuid4().hex)
    _ended: threading.Event = field(default_factory=threading.Event)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> None:
        """Write this driver's name, and keep renewing it.

        Raises:
            StorageError: storage does not answer.
        """
        self._write(0)
        threading.Thread(target=self._renew, name="niwaki-lease", daemon=True).start()

    def check(self) -> None:
        """Raise :class:`Superseded` where another driver took over; StorageError where storage does not answer."""
        holder = read_holder(self.place)
        if holder is not None and holder.driver != self.driver:
            raise Superseded(
                f"storage {self.place.uri}: a driver on {holder.host} has taken this run over; this one stops, and "
                "publishes nothing more"
            )

    def release(self) -> None:
        """Let go; a storage that does not answer will find out by itself."""
        self._ended.set()
        try:
            with self._writing:
                self.check()
                self._write(-1, ended=True)
        except StorageError:
            return

    def _renew(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_SECONDS):
            beat += 1
            try:
                with self._writing:
                    self.check()
                    if not self._ended.is_set():
                        self._write(beat)
            except Superseded:
                return
            except StorageError:
                continue  # whoever publishes says so

    def _write(self, beat: int, ended: bool = False) -> None:
        holder = Holder(self.driver, socket.gethostname(), beat, ended)
        self.place.write(FILE, json.dumps(asdict(holder)).encode())


_ADAPTER = TypeAdapter(Holder)
