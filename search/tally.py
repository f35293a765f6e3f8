"""What a run has come to, in the numbers that Prometheus is told: kept up by its commits, read at any time."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from search.choice import front
from search.front import Point, hypervolume, normalised
from search.view import Course
from workers.evaluation import PASSING, Evaluation
from workers.meters import COUNTER, GAUGE, Meter

DONE = Meter("niwaki_evaluations", COUNTER, "Evaluations that this driver committed.", ("stage", "outcome", "reason"))
SPENT = Meter("niwaki_device_seconds", COUNTER, "Device-seconds that they took.", ("stage", "outcome", "reason"))
ARCHIVED = Meter(
    "niwaki_archived_evaluations", GAUGE, "Evaluations of the run, earlier drivers' included.", ("stage", "outcome")
)
EXPECTED = Meter("niwaki_expected_evaluations", GAUGE, "Evaluations of the whole course, as far as known.", ("stage",))
UNDER_WAY = Meter("niwaki_under_way_evaluations", GAUGE, "Evaluations asked for and not committed.")
WORKERS = Meter("niwaki_workers", GAUGE, "Worker processes that are busy, idle, or starting.", ("state",))
VOLUME = Meter("niwaki_hypervolume", GAUGE, "Hypervolume of the front, in units of the base network.")
BEST = Meter("niwaki_best_accuracy_ratio", GAUGE, "Best validation accuracy within budget, 0 to 1.")
LAST = Meter("niwaki_last_commit_timestamp_seconds", GAUGE, "When an evaluation was committed last, or work began.")
METERS = (DONE, SPENT, ARCHIVED, EXPECTED, UNDER_WAY, WORKERS, VOLUME, BEST, LAST)


@dataclass(frozen=True)
class Sample:
    """One value of one meter; of a counter, by how much it grew since it was asked for last."""

    meter: Meter
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Tally:
    """Counts commits; :meth:`hear` belongs to the driver, :meth:`samples` to one thread that tells Prometheus."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._guard = threading.Lock()
        self._archived = Counter({(stage, "ok"): 0 for stage in course.counts})
        self._new: Counter[tuple[str, str, str]] = Counter()
        self._spent: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self._trained: list[Evaluation] = []
        self._under_way = 0
        self._last = time.time()
        self._front: list[Evaluation] = []

    def hear(self, evaluation: Evaluation, under_way: int, replayed: bool = False) -> None:
        """Count an evaluation; one that was replayed is in the archive, but another driver's doing."""
        request, outcome = evaluation.request, evaluation.outcome
        with self._guard:
            self._archived[request.stage, outcome.status] += 1
            if request.stage not in PASSING:
                self._trained.append(evaluation)
            if not replayed:
                key = (request.stage, outcome.status, outcome.reason)
                self._new[key] += 1
                self._spent[key] += outcome.seconds
                self._under_way = under_way
                self._last = time.time()

    def samples(self) -> list[Sample]:
        """All values but those of :data:`WORKERS`; nothing is said of a front that is not there yet."""
        with self._guard:
            new, self._new = self._new, Counter()
            spent, self._spent = self._spent, defaultdict(float)
            trained, self._trained = self._trained, []
            archived = self._archived.copy()
            under_way, last = self._under_way, self._last
        return [
            *(Sample(DONE, count, _labels(*key)) for key, count in new.items()),
            *(Sample(SPENT, seconds, _labels(*key)) for key, seconds in spent.items()),
            *(Sample(ARCHIVED, count, {"stage": s, "outcome": o}) for (s, o), count in archived.items()),
            *(Sample(EXPECTED, count, {"stage": stage}) for stage, count in self._course.counts.items()),
            Sample(UNDER_WAY, under_way),
            Sample(LAST, last),
            *self._of_front(trained),
        ]

    def _of_front(self, trained: list[Evaluation]) -> Iterator[Sample]:
        if trained:
            self._front = front([*self._front, *trained], self._course.cost)
        if self._front:
            objectives = [(1 - e.metrics["accuracy"], float(e.metrics[self._course.cost])) for e in self._front]
            points = [Point(0.0, normalised(error, cost, self._course.base_cost)) for error, cost in objectives]
            yield Sample(VOLUME, hypervolume(points))
            yield Sample(BEST, max(e.metrics["accuracy"] for e in self._front))


def _labels(stage: str, outcome: str, reason: str) -> dict[str, str]:
    return {"stage": stage, "outcome": outcome, "reason": reason}
