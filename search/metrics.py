"""A search on a cluster, told to Prometheus: every few seconds, by a thread beside the driver, through Ray."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from search.tally import METERS, WORKERS, Sample, Tally
from search.tracking_store import redact
from search.view import Course, View
from workers.cluster import RayCluster
from workers.evaluation import Evaluation
from workers.meters import COUNTER, RayMeters

TELL_SECONDS = 5.0
"""Half of the interval at which Ray passes on what it is told."""


class Meters(Protocol):
    """Where figures go."""

    def add(self, name: str, amount: float, labels: Mapping[str, str]) -> None: ...

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None: ...


class Workers(Protocol):
    """Whose workers are counted."""

    def states(self) -> Mapping[str, int]: ...


@contextmanager
def metered(view: View, cluster: RayCluster, name: str, run_id: str) -> Iterator[View]:
    """A view that passes everything on to ``view``, and tells Prometheus while the block lasts.

    A search on a cluster of its own is not told: nobody can reach the metrics of that, by design.
    """
    if cluster.settings.address is None:
        yield view
        return
    metrics = Metrics(view, RayMeters(METERS, {"run": redact(name), "run_id": run_id}), cluster)
    try:
        yield metrics
    finally:
        metrics.close()


class Metrics:
    """The view behind :func:`metered`: it counts commits, and all else is done by a thread that waits most of the time.

    What it tells ends with the last evaluation: from then on Ray's agent drops the gauges within half a minute.
    """

    def __init__(self, view: View, meters: Meters, workers: Workers) -> None:
        self._view, self._meters, self._workers = view, meters, workers
        self._tally: Tally | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="niwaki-metrics", daemon=True)

    def tell(self) -> None:
        """Tell all figures as they stand; called by one thread at a time."""
        assert self._tally is not None
        states = [Sample(WORKERS, count, {"state": state}) for state, count in self._workers.states().items()]
        for sample in (*self._tally.samples(), *states):
            tell = self._meters.add if sample.meter.kind == COUNTER else self._meters.set
            tell(sample.meter.name, sample.value, sample.labels)

    def close(self) -> None:
        """Tell what is left, and no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self, text: str) -> None:
        self._view.step(text)

    def warn(self, text: str) -> None:
        self._view.warn(text)

    def searching(self, course: Course) -> None:
        self._tally = Tally(course)
        self._thread.start()
        self._view.searching(course)

    def replayed(self, evaluation: Evaluation) -> None:
        if self._tally is not None:
            self._tally.hear(evaluation, 0, replayed=True)
        self._view.replayed(evaluation)

    def committed(self, evaluation: Evaluation, under_way: int) -> None:
        if self._tally is not None:
            self._tally.hear(evaluation, under_way)
        self._view.committed(evaluation, under_way)

    def searched(self) -> None:
        self.close()
        self._view.searched()

    def _work(self) -> None:
        self.tell()
        while not self._closing.wait(TELL_SECONDS):
            self.tell()
        self.tell()
