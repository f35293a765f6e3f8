"""The engine commits the same course whatever the cluster does, before and after a crash."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.archive import Archive
from search.engine import MOST_TRIES, ReplayMismatch, run_engine
from spaces.genome import Genome
from spaces.randomness import seed_for
from workers.evaluation import FAILED, OK, PROBE, Evaluation, Outcome, Request

COUNT = 30


class Crash(Exception):
    """The driver dies."""


class Chained:
    """A plan in which every request depends on all that was told before it, and which pauses now and then.

    It checks that no more than ``window`` are asked for and not told, and that nothing is told out of order or twice.
    """

    def __init__(self, window: int, count: int = COUNT, pause: int = 0) -> None:
        self.window, self.count, self.pause = window, count, pause
        self.asked = 0
        self.told: list[Evaluation] = []
        self._state = 0

    def ask(self, number: int) -> Request | None:
        assert number == self.asked
        assert self.asked - len(self.told) < self.window
        if number >= self.count:
            return None
        if self.pause and number % self.pause == 0 and len(self.told) < number:
            return None
        self.asked += 1
        return Request(number, PROBE, Genome((), 1.0, (self._state % 9999 / 9999,), ()), "test")

    def tell(self, evaluation: Evaluation) -> None:
        assert evaluation.request.number == len(self.told)
        self.told.append(evaluation)
        self._state = seed_for(self._state, evaluation.request.genome.id, evaluation.outcome.reason)


class Unruly:
    """A cluster that ends what runs in any order, several at a time or none, and loses workers as it is told to.

    Args:
        losses: by number, how many attempts in a row lose their worker.
        with_machine: whether they lose the whole machine.
        begun: whether they had begun.
    """

    def __init__(
        self,
        workers: int,
        seed: int,
        losses: dict[int, int] | None = None,
        with_machine: bool = False,
        begun: bool = True,
    ) -> None:
        self._with_machine, self._begun = with_machine, begun
        self._workers, self._random = workers, random.Random(seed)
        self._losses = dict(losses or {})
        self._running: list[Request] = []

    def idle(self, stage: str = PROBE, behind: bool = False) -> int:
        return self._workers - len(self._running)

    def submit(self, request: Request) -> None:
        assert self.idle() > 0
        assert request.number not in [r.number for r in self._running]
        self._running.append(request)

    def wait(self) -> list[Outcome]:
        assert self._running, "waiting for nothing"
        self._random.shuffle(self._running)
        count = self._random.randint(0, len(self._running))
        ended, self._running = self._running[:count], self._running[count:]
        return [self._outcome(request) for request in ended]

    def _outcome(self, request: Request) -> Outcome:
        where, seconds = f"worker-{self._random.random()}", 1.0
        if self._losses.get(request.number, 0) > 0:
            self._losses[request.number] -= 1
            lost = Outcome(request.number, FAILED, "worker_lost", seconds=seconds, worker=where)
            return replace(lost, with_machine=self._with_machine, attempts=int(self._begun))
        if request.number % 7 == 3:
            return Outcome(request.number, FAILED, "nan", "simulated", seconds=seconds, worker=where)
        return Outcome(request.number, OK, metrics={"accuracy": request.genome.keep[0]}, seconds=seconds, worker=where)


class Memory:
    """A log that dies on request: with ``crash_after`` evaluations kept, before or after the batch is on disk."""

    def __init__(self, kept: list[Evaluation] | None = None, crash_after: int | None = None) -> None:
        self.kept = list(kept or [])
        self._crash_after = crash_after

    def append(self, evaluations: list[Evaluation]) -> None:
        room = len(evaluations) if self._crash_after is None else self._crash_after - len(self.kept)
        if room < len(evaluations):
            raise Crash
        self.kept.extend(evaluations)
        if room == len(evaluations) and self._crash_after is not None:
            raise Crash


def course(evaluations: list[Evaluation]) -> list[Evaluation]:
    """What must not depend on the cluster: all but seconds, worker and attempts."""
    return [replace(e, outcome=replace(e.outcome, seconds=0.0, worker="", attempts=1)) for e in evaluations]


def run(window: int, workers: int = 1, seed: int = 0, losses: dict[int, int] | None = None, pause: int = 0) -> Memory:
    plan, log = Chained(window, pause=pause), Memory()
    assert run_engine(plan, Unruly(workers, seed, losses), log, window) == COUNT
    assert log.kept == plan.told
    return log


windows = st.integers(1, 12)
pauses = st.sampled_from([0, 1, 5, 8])
clusters = st.tuples(st.integers(1, 20), st.integers(0, 2**16))
losses = st.dictionaries(st.integers(0, COUNT - 1), st.integers(1, 2), max_size=10)


@given(windows, pauses, clusters, losses)
def test_the_course_is_the_same_on_any_cluster(
    window: int, pause: int, cluster: tuple[int, int], lost: dict[int, int]
) -> None:
    assert course(run(window, *cluster, losses=lost, pause=pause).kept) == course(run(window, pause=pause).kept)


@given(windows, pauses, clusters, st.lists(st.tuples(st.integers(0, COUNT), clusters), min_size=1, max_size=4))
def test_a_course_cut_off_anywhere_goes_on_as_if_nothing_had_happened(
    window: int, pause: int, cluster: tuple[int, int], crashes: list[tuple[int, tuple[int, int]]]
) -> None:
    kept: list[Evaluation] = []
    for crash_after, where in [*crashes, (None, cluster)]:
        plan, log = Chained(window, pause=pause), Memory(kept, crash_after)
        with contextlib.suppress(Crash):
            run_engine(plan, Unruly(*where), log, window, past=kept)
        assert log.kept[: len(kept)] == kept
        # Nothing is learnt, or acted upon, that a crash could forget.
        assert plan.told == log.kept[: len(plan.told)]
        kept = log.kept
    assert course(kept) == course(run(window, pause=pause).kept)


def test_a_wider_window_is_another_course() -> None:
    assert course(run(1).kept) != course(run(2).kept)


def test_the_window_is_used_up() -> None:
    """With the window's width of workers all of it runs at once; the plan itself refuses one more."""
    plan, cluster = Chained(5), Unruly(100, 0)
    run_engine(plan, cluster, Memory(), 5)
    assert plan.asked == COUNT

    class Counting(Unruly):
        most = 0

        def submit(self, request: Request) -> None:
            super().submit(request)
            self.most = max(self.most, 100 - self.idle())

    counting = Counting(100, 0)
    run_engine(Chained(5), counting, Memory(), 5)
    assert counting.most == 5


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_lost_worker_is_tried_again_as_often_as_allowed(retries: int) -> None:
    lost = dict(enumerate([0, 1, 2, 3, 9]))
    plan = Chained(4)
    run_engine(plan, Unruly(2, 1, lost), Memory(), 4, retries)
    for number, times in lost.items():
        outcome = plan.told[number].outcome
        attempts = min(times, retries) + 1
        assert (outcome.attempts, outcome.seconds) == (attempts, float(attempts))
        gave_up = times > retries
        assert (outcome.reason == "worker_lost") == gave_up
    assert plan.told[10].outcome.reason == "nan"
    assert plan.told[10].outcome.attempts == 1, "only lost workers are retried"


def test_progress_comes_once_a_commit_is_durable() -> None:
    log, seen = Memory(), []

    def progress(evaluation: Evaluation, under_way: int) -> None:
        assert evaluation in log.kept
        seen.append((evaluation.request.number, under_way))

    run_engine(Chained(4), Unruly(3, 0), log, 4, progress=progress)
    assert seen == [(n, min(4, COUNT - 1 - n)) for n in range(COUNT)]


def test_an_archive_of_another_course_is_refused() -> None:
    kept = run(4).kept
    request = kept[6].request
    for other in (
        replace(request, origin="somebody"),
        replace(request, genome=Genome((), 0.5, (0.5,), ())),
        replace(request, number=7),
    ):
        past = [*kept[:6], Evaluation(other, kept[6].outcome), *kept[7:]]
        with pytest.raises(ReplayMismatch, match=r"evaluation 6: .* resume with those of the start, or search anew"):
            run_engine(Chained(4), Unruly(1, 0), Memory(), 4, past=past)
    with pytest.raises(ReplayMismatch, match="this run asks nothing"):
        run_engine(Chained(4, count=COUNT - 1), Unruly(1, 0), Memory(), 4, past=kept)


def test_a_finished_run_is_only_told() -> None:
    kept = run(4).kept
    plan = Chained(4)
    assert run_engine(plan, Unruly(1, 0), Memory(crash_after=0), 4, past=kept) == COUNT
    assert plan.told == kept


@settings(max_examples=8, deadline=None)
@given(st.integers(0, COUNT), clusters)
def test_resuming_from_the_archive_on_disk(
    tmp_path_factory: pytest.TempPathFactory, cut: int, cluster: tuple[int, int]
) -> None:
    folder: Path = tmp_path_factory.mktemp("archive")
    expected = run(6).kept

    class Dying(Archive):
        def append(self, evaluations: list[Evaluation]) -> None:
            super().append(evaluations)
            if len(self) >= cut:
                raise Crash

    with pytest.raises(Crash):
        run_engine(Chained(6), Unruly(*cluster), Dying(folder), 6)
    archive = Archive(folder)
    past = list(archive.evaluations())
    assert len(past) >= cut
    plan = Chained(6)
    run_engine(plan, Unruly(1, 0), archive, 6, past=past)
    assert course(plan.told) == course(expected)
    assert course(list(archive.evaluations())) == course(expected)
    archive.close()


def test_what_had_not_begun_when_its_worker_was_lost_was_not_tried() -> None:
    plan = Chained(4)
    run_engine(plan, Unruly(2, 1, {4: 2 * MOST_TRIES}, with_machine=True, begun=False), Memory(), 4, retries=0)
    assert plan.told[4].ok
    assert plan.told[4].outcome.attempts == 1


def test_a_lost_machine_is_no_fault_of_the_candidate() -> None:
    lost = {3: 7, 4: MOST_TRIES - 1, 5: MOST_TRIES}
    plan = Chained(4)
    run_engine(plan, Unruly(2, 1, lost, with_machine=True), Memory(), 4, retries=0)
    assert plan.told[4].ok
    assert plan.told[3].outcome.reason == "nan", "what the candidate does by itself"
    assert plan.told[3].outcome.attempts == 8
    assert plan.told[5].outcome.reason == "worker_lost", "it must not take machines down for ever"
    assert plan.told[5].outcome.attempts == MOST_TRIES
