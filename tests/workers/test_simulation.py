"""The simulated cluster keeps time, loses workers as it is told to, and never lets timing touch a result."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from search.engine import run_engine
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, Evaluation, Outcome, Request
from workers.simulation import Duration, Fault, SimulatedCluster, lognormal_durations, with_stragglers


def request(number: int) -> Request:
    return Request(number, PROBE, Genome((), 1.0, (1.0,), ()), "test")


def metrics(request: Request) -> Mapping[str, float]:
    return {"accuracy": request.number / 1000}


def fixed(seconds: float) -> Duration:
    return lambda request, attempt: seconds


class Numbers:
    """A plan of ``count`` evaluations that notes what it is told, and when it asks."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.told: list[Evaluation] = []
        self.told_when_asked: list[int] = []

    def ask(self, number: int) -> Request | None:
        if number >= self.count:
            return None
        self.told_when_asked.append(len(self.told))
        return request(number)

    def tell(self, evaluation: Evaluation) -> None:
        self.told.append(evaluation)


class NoLog:
    def append(self, evaluations: list[Evaluation]) -> None:
        pass


def run(count: int, cluster: SimulatedCluster, window: int, retries: int = 2) -> Numbers:
    plan = Numbers(count)
    assert run_engine(plan, cluster, NoLog(), window, retries) == count
    return plan


def test_outcomes_come_in_order_of_time() -> None:
    cluster = SimulatedCluster(3, metrics, lambda r, _: [5.0, 2.0, 2.0][r.number])
    for number in range(3):
        assert cluster.idle() == 3 - number
        cluster.submit(request(number))
    first = cluster.wait()
    assert [o.number for o in first] == [1, 2]
    assert (cluster.now, cluster.idle()) == (2.0, 2)
    assert cluster.busy_seconds == pytest.approx(6.0)
    assert [o.number for o in cluster.wait()] == [0]
    assert cluster.now == 5.0
    assert first[0] == Outcome(1, OK, metrics={"accuracy": 0.001}, seconds=2.0, worker=first[0].worker)
    assert first[0].worker != first[1].worker
    assert cluster.utilisation() == pytest.approx(9.0 / 15.0)


def test_misuse_is_refused() -> None:
    cluster = SimulatedCluster(1, metrics, fixed(1.0))
    with pytest.raises(RuntimeError, match="nothing runs"):
        cluster.wait()
    cluster.submit(request(0))
    with pytest.raises(RuntimeError, match="no idle worker for evaluation 1"):
        cluster.submit(request(1))
    with pytest.raises(ValueError, match="at least one worker, got 0"):
        SimulatedCluster(0, metrics, fixed(1.0))


def test_a_lost_worker_ends_early_and_comes_back() -> None:
    cluster = SimulatedCluster(1, metrics, fixed(10.0), failure_rate=1.0, revival=30.0)
    cluster.submit(request(0))
    (lost,) = cluster.wait()
    assert (lost.status, lost.reason, dict(lost.metrics)) == (FAILED, "worker_lost", {})
    assert 0.0 <= lost.seconds < 10.0
    assert cluster.now == lost.seconds
    assert cluster.idle() == 0
    assert cluster.wait() == []
    assert (cluster.now, cluster.idle()) == (lost.seconds + 30.0, 1)
    assert cluster.utilisation() == pytest.approx(lost.seconds / cluster.now)


def test_losses_have_the_rate_and_are_retried_by_the_engine() -> None:
    cluster = SimulatedCluster(50, metrics, fixed(1.0), failure_rate=0.2, seed=1)
    plan = run(20_000, cluster, window=500)
    attempts = np.array([e.outcome.attempts for e in plan.told])
    failed = np.array([not e.ok for e in plan.told])
    assert np.mean(attempts > 1) == pytest.approx(0.2, abs=0.01)
    assert np.mean(failed) == pytest.approx(0.2**3, abs=0.002)
    assert set(attempts[failed]) == {3}


def test_faults_are_failed_outcomes_with_their_reason() -> None:
    def evaluate(request: Request) -> Mapping[str, float]:
        if request.number % 2:
            raise Fault("oom", "simulated: 2 GB asked, 1 GB free")
        return metrics(request)

    plan = run(10, SimulatedCluster(3, evaluate, fixed(1.0)), window=6)
    assert [e.outcome.reason for e in plan.told] == ["", "oom"] * 5
    assert plan.told[1].outcome.message == "simulated: 2 GB asked, 1 GB free"
    assert {e.outcome.attempts for e in plan.told} == {1}


def test_results_do_not_depend_on_workers_or_timing() -> None:
    def course(workers: int, seed: int) -> list[tuple[int, str, int, dict[str, float]]]:
        duration = lognormal_durations(1.0, 60.0, seed)
        cluster = SimulatedCluster(workers, metrics, duration, failure_rate=0.3, seed=5)
        plan = run(300, cluster, window=40)
        assert plan.told_when_asked == [max(0, i - 39) for i in range(300)]
        return [(e.request.number, e.outcome.reason, e.outcome.attempts, dict(e.metrics)) for e in plan.told]

    expected = course(1, 0)
    assert course(7, 1) == expected
    assert course(1000, 2) == expected


def test_durations_are_log_normal_and_a_function_of_number_and_attempt() -> None:
    duration = lognormal_durations(sigma=1.0, mean=60.0, seed=3)
    seconds = np.array([duration(request(n), 0) for n in range(50_000)])
    assert seconds.mean() == pytest.approx(60.0, rel=0.03)
    assert np.log(seconds).std() == pytest.approx(1.0, rel=0.02)
    again = lognormal_durations(1.0, 60.0, 3)
    assert again(request(49_999), 0) == seconds[-1]
    assert again(request(49_999), 1) != seconds[-1]
    assert lognormal_durations(1.0, 60.0, 4)(request(49_999), 0) != seconds[-1]


def test_stragglers_are_a_share_of_the_attempts() -> None:
    stretched = with_stragglers(fixed(1.0), rate=0.05, factor=20.0, seed=0)
    seconds = np.array([stretched(request(n), 0) for n in range(20_000)])
    assert set(seconds.tolist()) == {1.0, 20.0}
    assert np.mean(seconds == 20.0) == pytest.approx(0.05, abs=0.005)


def test_busy_seconds_count_what_runs() -> None:
    cluster = SimulatedCluster(4, metrics, lognormal_durations(1.0, 10.0, 0), failure_rate=0.1, seed=0)
    plan = run(500, cluster, window=64)
    assert cluster.busy_seconds == pytest.approx(sum(e.outcome.seconds for e in plan.told))
    assert 0.5 < cluster.utilisation() < 1.0
    assert math.isfinite(cluster.now)


def test_utilisation_without_the_drain() -> None:
    cluster = SimulatedCluster(2, metrics, lambda r, _: [4.0, 1.0, 1.0, 9.0][r.number])
    run(4, cluster, window=4)
    # Both workers are busy until the last starts at 2 s; then one of them has nothing left to do after 4 s.
    assert cluster.utilisation(drain=False) == pytest.approx(1.0)
    assert cluster.utilisation() == pytest.approx(15.0 / 22.0)
