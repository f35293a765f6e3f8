"""A place for a worker process and what it has to do: one thing at a time, and at most one behind it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayTaskError

GATHER_SECONDS = 0.02
"""Most seconds for which results may gather: to deal with several at once takes less of the driver's time."""


@dataclass
class Task:
    """Something for a worker to do.

    Attributes:
        ticket: what the caller knows it by.
        limit: seconds that it may take.
        reference: Ray's, of its result; ``None`` until a worker has it.
    """

    ticket: Any
    item: Any
    limit: float
    reference: Any = None


@dataclass
class Slot:
    """A place for one worker process; the process may be replaced, the place stays.

    Attributes:
        probing: whether it takes probes alone, and no GPU.
        starting: reference of the step of its start that is under way.
        running: what the worker does, since ``started``.
        behind: what it begins when that has ended, without waiting for the driver to notice.
    """

    probing: bool = False
    actor: Any = None
    starting: Any = None
    running: Task | None = None
    behind: Task | None = None
    started: float = 0.0
    name: str = ""
    node: str = ""
    failed_starts: int = 0

    @property
    def free(self) -> bool:
        """Whether a task would start at once."""
        return self.starting is None and self.running is None

    @property
    def seconds(self) -> float:
        """Since its task began."""
        return time.monotonic() - self.started

    @property
    def deadline(self) -> float:
        """When its task has run out of time."""
        return float("inf") if self.running is None else self.started + self.running.limit

    @property
    def references(self) -> list[Any]:
        """What to wait for."""
        running = None if self.running is None else self.running.reference
        return [reference for reference in (self.starting, running) if reference is not None]

    def take(self, task: Task) -> None:
        """Hand the worker a task, to be done now or after the one that it is at."""
        task.reference = self.actor.run.remote(task.item)
        if self.running is None:
            self.running, self.started = task, time.monotonic()
        else:
            self.behind = task

    def end(self) -> Task:
        """The task that was running; the one behind it runs now."""
        ended, self.running = self.running, None
        assert ended is not None
        if self.behind is not None:
            self.running, self.behind, self.started = self.behind, None, time.monotonic()
        return ended

    def empty(self) -> list[Task]:
        """All that a worker had that is gone: what it was at, then what it had not begun."""
        had = [task for task in (self.running, self.behind) if task is not None]
        self.running = self.behind = None
        return had


def leisure(slots: Iterable[Slot], seconds: float) -> float:
    """How many seconds the driver may let results wait: none, unless every worker has something behind what it is at.

    Args:
        seconds: that a task takes; by a quarter of it no worker will have run dry.
    """
    if any(slot.starting is not None or slot.behind is None for slot in slots):
        return 0.0
    return min(GATHER_SECONDS, seconds / 4)


@dataclass(frozen=True)
class Fault:
    """Why an item has no result.

    Attributes:
        error: what the job raised, if that is the reason.
        with_machine: whether the item is not to blame: the worker was lost with its whole machine, or at another item.
    """

    reason: str
    message: str
    error: RayTaskError | None = None
    with_machine: bool = False


@dataclass(frozen=True)
class Event:
    """The end of what was submitted under ``ticket``.

    Attributes:
        seconds: since its worker began it, as the driver saw it.
        worker: its name.
    """

    ticket: Any
    seconds: float
    worker: str
    result: Any = None
    fault: Fault | None = None
