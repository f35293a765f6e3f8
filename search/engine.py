"""The reorder buffer: evaluations run in any order and commit in the order in which they were asked for.

After commit ``c`` the plan is asked for more until ``window`` evaluations are under way. What it answers depends on
the commits so far and on nothing else, so the course of a search is a function of (configuration, seed): not of the
number of workers, of timing, or of a crash. Resuming is the same loop with the archive's outcomes already in the
buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from workers.evaluation import FAILED, Evaluation, Outcome, Request

MOST_TRIES = 20
"""Starts of an evaluation, however it was lost: one that takes whole machines down must not do so for ever."""


class Plan(Protocol):
    """Decides what each evaluation is."""

    def ask(self, number: int) -> Request | None:
        """Evaluation ``number``; ``None`` to wait for the next commit, or, with nothing under way, to end the run."""

    def tell(self, evaluation: Evaluation) -> None:
        """Learn from a committed evaluation; called in number order, once each."""


class Cluster(Protocol):
    """Runs evaluations: Ray workers, or a simulation with a virtual clock."""

    def idle(self, stage: str, behind: bool = False) -> int:
        """How many requests of a stage would start at once; or, with ``behind``, right after others."""

    def submit(self, request: Request) -> None:
        """Start a request; called only while :meth:`idle` is positive for its stage."""

    def wait(self) -> list[Outcome]:
        """Block until at least one request has ended; outcomes in any order."""


class Log(Protocol):
    """Where commits are made durable."""

    def append(self, evaluations: list[Evaluation]) -> None:
        """Write evaluations so that they survive a crash from here on."""


class ReplayMismatch(RuntimeError):
    """The archive holds another course of events than this configuration and seed give."""


def run_engine(
    plan: Plan,
    cluster: Cluster,
    log: Log,
    window: int,
    retries: int = 2,
    past: Iterable[Evaluation] = (),
    progress: Callable[[Evaluation, int], None] | None = None,
) -> int:
    """Run ``plan`` to its end; the number of evaluations committed.

    Args:
        window: most evaluations asked for but not committed.
        retries: restarts of an evaluation whose worker was lost; where the whole machine was lost with it, it starts
            again without that being counted, up to :data:`MOST_TRIES`.
        past: evaluations committed by an earlier driver, in number order; they are told, not run again.
        progress: called after each new commit, once it is durable, with the evaluation and the number now under way.

    Raises:
        ReplayMismatch: ``past`` does not agree with what the plan asks.
    """
    waiting: dict[str, deque[Request]] = {}
    under_way: dict[int, Request] = {}
    done: dict[int, Outcome] = {}
    attempts: dict[int, tuple[int, int, float]] = {}
    committed = 0

    def fill() -> None:
        while len(under_way) < window:
            request = plan.ask(committed + len(under_way))
            if request is None:
                return
            under_way[request.number] = request
            waiting.setdefault(request.stage, deque()).append(request)

    def commit(evaluation: Evaluation) -> None:
        nonlocal committed
        del under_way[committed]
        committed += 1
        plan.tell(evaluation)
        fill()

    fill()
    for evaluation in past:
        asked = under_way.get(committed)
        if asked != evaluation.request:
            raise ReplayMismatch(_mismatch(committed, evaluation.request, asked))
        # Nothing was submitted yet, so the next to commit is the first of its stage that waits.
        waiting[evaluation.request.stage].popleft()
        commit(evaluation)

    def start() -> None:
        while ready := _ready(waiting, cluster):
            cluster.submit(min(ready, key=lambda queue: queue[0].number).popleft())

    while under_way:
        start()
        for outcome in cluster.wait():
            tries, losses, seconds = attempts.pop(outcome.number, (0, 0, 0.0))
            tries, seconds = tries + outcome.attempts, seconds + outcome.seconds
            losses += not outcome.with_machine  # which go for reasons of their own
            lost = outcome.status == FAILED and outcome.reason == "worker_lost"
            if lost and losses <= retries and tries < MOST_TRIES:
                attempts[outcome.number] = (tries, losses, seconds)
                request = under_way[outcome.number]
                waiting[request.stage].appendleft(request)
            else:
                done[outcome.number] = replace(outcome, attempts=tries, seconds=seconds)
        start()  # so that workers are busy while the log and the plan are
        batch: list[Evaluation] = []
        while (number := committed + len(batch)) in done:
            batch.append(Evaluation(under_way[number], done.pop(number)))
        if batch:
            log.append(batch)  # before anything is built on it, so that a crash never forgets what has been acted upon
        for evaluation in batch:
            commit(evaluation)
            if progress is not None:
                progress(evaluation, len(under_way))
    return committed


def _ready(waiting: Mapping[str, deque[Request]], cluster: Cluster) -> list[deque[Request]]:
    """What may start, by stage. A queue behind others is for those alone whom nobody waits for: none is passed over."""
    stages = {stage: queue for stage, queue in waiting.items() if queue}
    ready = [queue for stage, queue in stages.items() if cluster.idle(stage) > 0]
    if not ready and len(stages) == 1:
        ready = [queue for stage, queue in stages.items() if cluster.idle(stage, behind=True) > 0]
    return ready


def _mismatch(number: int, archived: Request, asked: Request | None) -> str:
    now = "nothing" if asked is None else f"{asked.stage} of {asked.genome.id} ({asked.origin})"
    return (
        f"evaluation {number}: the archive holds a {archived.stage} of {archived.genome.id} ({archived.origin}), "
        f"this run asks {now}. The configuration, the data or a library version has changed since; "
        "resume with those of the start, or search anew"
    )
