"""What a search tells of itself while it runs, and the numbers behind a progress display."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from search.choice import front
from workers.evaluation import PASSING, Evaluation


@dataclass(frozen=True)
class Course:
    """What is expected of a search before it begins.

    Attributes:
        counts: evaluations by stage.
        seconds: forecast device-seconds of one evaluation by stage.
        workers: how many run at once.
        cost: second objective of the front.
        base_cost: of the base network.
        base_accuracy: on the validation split.
    """

    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    workers: int
    cost: str
    base_cost: int
    base_accuracy: float


class View(Protocol):
    """Whoever watches a search."""

    def step(self, text: str) -> None:
        """A new part of the story begins."""

    def warn(self, text: str) -> None:
        """Something is amiss, and the search goes on; may be called from another thread."""

    def searching(self, course: Course) -> None:
        """Evaluations begin."""

    def replayed(self, evaluation: Evaluation) -> None:
        """An evaluation was found in the archive: an earlier driver committed it."""

    def committed(self, evaluation: Evaluation, under_way: int) -> None:
        """An evaluation was committed; ``under_way`` are asked for and not committed."""

    def searched(self) -> None:
        """Evaluations are over, or were broken off."""


class Quiet:
    """Watches without a word."""

    def step(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def searching(self, course: Course) -> None: ...

    def replayed(self, evaluation: Evaluation) -> None: ...

    def committed(self, evaluation: Evaluation, under_way: int) -> None: ...

    def searched(self) -> None: ...


@dataclass
class Progress:
    """Counts, rate, time left and the front so far."""

    course: Course
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    trained: list[Evaluation] = field(default_factory=list)
    _seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _started: float = field(default_factory=time.monotonic)
    _since_start: int = 0

    def hear(self, evaluation: Evaluation, under_way: int, replayed: bool = False) -> None:
        """Count a commit; replayed ones say nothing of the rate."""
        stage = evaluation.request.stage
        self.done[stage] += 1
        self.failed[evaluation.outcome.reason] += not evaluation.ok
        self._seconds[stage] += evaluation.outcome.seconds
        self._since_start += not replayed
        self.under_way = under_way
        if stage not in PASSING:
            self.trained.append(evaluation)

    @property
    def total(self) -> int:
        """Evaluations of the whole course, as far as known."""
        return max(sum(self.course.counts.values()), self.done.total())

    @property
    def failures(self) -> int:
        return self.failed.total()

    @property
    def elapsed(self) -> float:
        """Seconds since this driver began to search."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Commits per second of this driver."""
        return self._since_start / max(self.elapsed, 1e-9)

    @property
    def left(self) -> float:
        """Seconds that the rest should take: what each stage took so far, or was forecast to take."""
        return seconds_left(self.course, self.done, self._seconds)

    def front(self) -> list[Evaluation]:
        """The non-dominated trained candidates so far, cheapest first."""
        return front(self.trained, self.course.cost)


def seconds_left(course: Course, done: Mapping[str, int], spent: Mapping[str, float]) -> float:
    """Seconds by the clock that the rest of a course should take.

    Args:
        done: evaluations by stage so far; a stage that is not named has none.
        spent: device-seconds that they took.
    """

    def each(stage: str) -> float:
        return spent[stage] / done[stage] if done.get(stage) else course.seconds.get(stage, 0.0)

    return sum(max(0, n - done.get(stage, 0)) * each(stage) for stage, n in course.counts.items()) / course.workers
