"""A simulated cluster: thousands of workers, heavy-tailed durations and lost machines on a virtual clock.

It stands where the Ray cluster stands, so that engine tests and scale figures take seconds. The event queue follows
Syne Tune's simulator backend (Salinas et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from heapq import heappop, heappush

import numpy as np

from spaces.randomness import numpy_generator
from workers.evaluation import FAILED, OK, TRAIN, Outcome, Request

Duration = Callable[[Request, int], float]
"""Virtual seconds that an attempt (from 0) of a request takes when nothing goes wrong; positive."""

_BLOCK = 4096


class Fault(Exception):
    """Raised by a simulated evaluation to fail with ``reason``, one of :data:`workers.evaluation.REASONS`."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class SimulatedCluster:
    """``workers`` simulated workers, one evaluation each at a time.

    Timing never changes a result: metrics come from ``evaluate`` alone, durations and losses are functions of
    (seed, request's number, attempt), and not of the worker or of what else runs.

    Args:
        evaluate: the metrics of a request; raises :class:`Fault` to fail. Called when the evaluation ends.
        duration: virtual seconds of an attempt.
        failure_rate: probability that an attempt's worker is lost at a random moment of it.
        revival: virtual seconds until a lost worker is back.
        seed: of the losses.
    """

    def __init__(
        self,
        workers: int,
        evaluate: Callable[[Request], Mapping[str, float]],
        duration: Duration,
        failure_rate: float = 0.0,
        seed: int = 0,
        revival: float = 30.0,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a cluster needs at least one worker, got {workers}")
        self.workers = workers
        self.now = 0.0
        self._evaluate = evaluate
        self._duration = duration
        self._failure_rate = failure_rate
        self._revival = revival
        self._losses = _uniforms(seed, "loss")
        self._idle = list(range(workers - 1, -1, -1))
        # (time, order of submission, worker, request, seconds, lost); a revival has no request.
        self._events: list[tuple[float, int, int, Request | None, float, bool]] = []
        self._submitted = 0
        self._attempts: dict[int, int] = {}
        self._ended_seconds = 0.0
        self._running = 0
        self._running_since = 0.0
        self._at_last_start = (0.0, 0.0)

    def idle(self, stage: str = TRAIN, behind: bool = False) -> int:
        """Workers that wait for a request, of whatever stage."""
        return len(self._idle)

    def submit(self, request: Request) -> None:
        """Start ``request`` on an idle worker, now.

        Raises:
            RuntimeError: no worker is idle.
        """
        if not self._idle:
            raise RuntimeError(f"no idle worker for evaluation {request.number}; ask idle() first")
        number, attempt = request.number, self._attempts.get(request.number, 0)
        seconds = self._duration(request, attempt)
        lost = False
        if self._failure_rate > 0.0 and self._losses(number, 2 * attempt) < self._failure_rate:
            lost = True
            seconds *= self._losses(number, 2 * attempt + 1)
            self._attempts[number] = attempt + 1
        elif attempt:
            del self._attempts[number]
        now = self.now
        if attempt == 0:
            self._at_last_start = (self._ended_seconds + self._running * now - self._running_since, now)
        heappush(self._events, (now + seconds, self._submitted, self._idle.pop(), request, seconds, lost))
        self._submitted += 1
        self._running += 1
        self._running_since += now

    def wait(self) -> list[Outcome]:
        """Advance the clock to the next event: what ended then, or nothing where a lost worker came back.

        Raises:
            RuntimeError: nothing is under way, so nothing would ever happen.
        """
        if not self._events:
            raise RuntimeError("waiting for a cluster on which nothing runs")
        outcomes: list[Outcome] = []
        events = self._events
        now = self.now = events[0][0]
        while events and events[0][0] == now:
            _, order, worker, request, seconds, lost = heappop(events)
            if request is None:
                self._idle.append(worker)
                continue
            self._ended_seconds += seconds
            self._running -= 1
            self._running_since -= now - seconds
            if lost:
                heappush(events, (now + self._revival, order, worker, None, 0.0, False))
            else:
                self._idle.append(worker)
            outcomes.append(self._outcome(request, worker, seconds, lost))
        return outcomes

    def close(self) -> None:
        """Forget what runs."""
        self._events.clear()

    @property
    def busy_seconds(self) -> float:
        """Virtual worker-seconds spent on evaluations until now, lost ones and those under way included."""
        return self._ended_seconds + self._running * self.now - self._running_since

    def utilisation(self, drain: bool = True) -> float:
        """Share of all worker-seconds until now in which a worker evaluated; workers that are away count as idle.

        Without ``drain`` only until the last request was first started: the end of a run, when workers have nothing
        left to do while the slowest finish, is not counted.
        """
        busy, now = (self.busy_seconds, self.now) if drain else self._at_last_start
        return busy / (self.workers * now) if now > 0 else 0.0

    def _outcome(self, request: Request, worker: int, seconds: float, lost: bool) -> Outcome:
        where = f"simulated-{worker}"
        if lost:
            return Outcome(request.number, FAILED, "worker_lost", "simulated loss", seconds=seconds, worker=where)
        try:
            metrics = self._evaluate(request)
        except Fault as fault:
            return Outcome(request.number, FAILED, fault.reason, str(fault), seconds=seconds, worker=where)
        return Outcome(request.number, OK, metrics=metrics, seconds=seconds, worker=where)


def lognormal_durations(sigma: float, mean: float, seed: int) -> Duration:
    """Log-normal durations of the given mean (virtual seconds), ``sigma`` the deviation of their logarithm.

    A function of (seed, request's number, attempt) alone.
    """
    location = math.log(mean) - sigma**2 / 2
    draw = _blocks(seed, "duration", lambda rng: rng.lognormal(location, sigma, _BLOCK))
    return lambda request, attempt: draw(request.number, attempt)


def with_stragglers(duration: Duration, rate: float, factor: float, seed: int) -> Duration:
    """The same durations, but a share ``rate`` of the attempts takes ``factor`` times as long (a slow node)."""
    uniform = _uniforms(seed, "straggler")

    def stretched(request: Request, attempt: int) -> float:
        return duration(request, attempt) * (factor if uniform(request.number, attempt) < rate else 1.0)

    return stretched


def _uniforms(seed: int, purpose: str) -> Callable[[int, int], float]:
    """Uniform numbers in [0, 1) by (number, draw)."""
    return _blocks(seed, purpose, lambda rng: rng.random(_BLOCK))


def _blocks(seed: int, purpose: str, draw: Callable[[np.random.Generator], np.ndarray]) -> Callable[[int, int], float]:
    """Random numbers by (number, index), a block of numbers drawn at a time: well under a microsecond each."""

    @lru_cache(maxsize=64)
    def block(start: int, index: int) -> list[float]:
        values: list[float] = draw(numpy_generator(seed, purpose, start, index)).tolist()
        return values

    return lambda number, index: block(number // _BLOCK, index)[number % _BLOCK]
