"""Tracking on a thread of its own, so that a slow or absent MLflow never slows a search."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from search.tracking_store import TrackingError
from workers.evaluation import Evaluation


class Projector(Protocol):
    """What a :class:`BackgroundTracker` needs of a :class:`search.tracking.Tracker`."""

    def project(self, evaluations: Iterable[Evaluation]) -> int:
        """Log evaluations; TrackingError where that is not possible now."""
        ...


class BackgroundTracker:
    """A tracker on a thread of its own, fed while the search runs; never in the search's way.

    Give it every committed evaluation in order, those replayed on resume included: it logs what MLflow lacks.
    A server that does not answer is warned of once and tried again at growing intervals.

    Args:
        tracker: used by this thread alone until :meth:`close` has returned.
        warn: called at most once, from the thread, with a readable line.
        longest_wait: seconds between attempts at most.
        prepare: called first, on the thread; what it raises as a TrackingError is left to the first projection.
    """

    def __init__(
        self,
        tracker: Projector,
        warn: Callable[[str], None],
        longest_wait: float = 60.0,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._tracker, self._warn, self._longest_wait = tracker, warn, longest_wait
        self._prepare = prepare
        self._queue: queue.SimpleQueue[Evaluation | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._given = 0
        self._logged = 0
        # A daemon, so that a server that accepts and then hangs cannot keep a finished search from exiting.
        self._thread = threading.Thread(target=self._work, name="niwaki-mlflow", daemon=True)
        self._thread.start()

    def add(self, evaluation: Evaluation) -> None:
        """Hand over a committed evaluation; returns at once, whatever MLflow does."""
        self._given += 1
        self._queue.put(evaluation)

    def close(self, deadline_s: float = 10.0) -> int:
        """Wait up to ``deadline_s`` for what is left.

        Returns:
            How many evaluations are not known to be in MLflow: where above 0, ``niwaki sync RUN`` catches up.
        """
        self._closing.set()
        self._queue.put(None)
        self._thread.join(deadline_s)
        return self._given - self._logged

    def _work(self) -> None:
        if self._prepare is not None:
            with suppress(TrackingError):
                self._prepare()
        pending: list[Evaluation] = []
        wait = 1.0
        warned = False
        while not (self._closing.is_set() and not pending and self._queue.empty()):
            closing = self._closing.is_set()
            if not pending:
                pending.extend(e for e in [self._queue.get()] if e is not None)
            pending.extend(self._waiting())
            try:
                while pending:
                    self._tracker.project(pending[:1])
                    self._logged += 1
                    del pending[0]
                wait = 1.0
            except TrackingError as error:
                if not warned:
                    warned = True
                    self._warn(f"{error}. The search goes on; `niwaki sync` brings MLflow up to date later.")
                if closing:
                    return  # it was tried after closing began: now it is the caller's to say what is left
                self._closing.wait(wait)
                wait = min(2 * wait, self._longest_wait)

    def _waiting(self) -> list[Evaluation]:
        """Everything in the queue now."""
        found: list[Evaluation] = []
        while not self._queue.empty():
            evaluation = self._queue.get()
            if evaluation is not None:
                found.append(evaluation)
        return found
