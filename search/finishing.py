"""The cluster as the engine sees it where candidates are finished: Tune takes the workers' place for as long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from spaces.foundation import Foundation
from workers.cluster import RayCluster
from workers.evaluation import FINISH, Outcome, Request
from workers.finish.candidate import finish_candidate
from workers.finish.leg import Finishing
from workers.finish.methods import Method
from workers.jobs import RunSettings, VisibleData, evaluation_job


class FinishingCluster:
    """Evaluations on ``cluster``; a finish instead of them, not beside them.

    Args:
        seconds: most that a finish may take.
        begin: told of each finish that begins.
    """

    def __init__(
        self,
        cluster: RayCluster,
        data: VisibleData,
        settings: RunSettings,
        foundation: Foundation,
        seconds: float,
        begin: Callable[[Request], None],
    ) -> None:
        self._cluster = cluster
        self._inputs = (data, settings, foundation)
        self._seconds = seconds
        self._begin = begin
        self._finish: Request | None = None
        self._queue: deque[Request] = deque()
        self._released = False
        cluster.use(evaluation_job, *self._inputs)

    def idle(self, stage: str, behind: bool = False) -> int:
        """Requests of a stage that would start, as the cluster has it; without workers, those that wait for them."""
        if self._finish is not None:
            return 0
        if self._released or self._queue:
            return self._cluster.workers - len(self._queue)
        return self._cluster.idle(stage, behind)

    def submit(self, request: Request) -> None:
        """Start a request, or note it until there are workers, or room for a finish."""
        if request.stage == FINISH:
            self._finish = request
        elif self._released or self._queue:
            self._queue.append(request)
        else:
            self._cluster.submit(request)

    def wait(self) -> list[Outcome]:
        """Outcomes of the requests that ended, possibly none."""
        if self._finish is not None:
            request, self._finish = self._finish, None
            return [self._run(request)]
        if self._released:
            self._cluster.use(evaluation_job, *self._inputs)
            self._released = False
        while self._queue and self._cluster.idle(self._queue[0].stage):
            self._cluster.submit(self._queue.popleft())
        return self._cluster.wait()

    def _run(self, request: Request) -> Outcome:
        _, settings, foundation = self._inputs
        self._begin(request)
        self._cluster.release()
        self._released = True
        return finish_candidate(request, settings, foundation.space, self._tune)

    def _tune(self, finishing: Finishing, method: Method, scores: dict[tuple[int, int], float]) -> tuple[str, str]:
        from workers.finish.tuner import tune_members  # imports Ray Tune, which takes seconds

        inputs: list[Any] = [self._cluster.share(value) for value in self._inputs]
        return tune_members(finishing, method, scores, inputs, self._cluster.settings, self._seconds)
