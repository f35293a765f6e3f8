"""What telling Prometheus costs a driver: its CPU time for counting a commit, and for telling all figures once.

    python benchmarks/metrics_cost.py [--evaluations 100000]

One evaluation in a hundred is a training. Ray's own meters are told, in a process that is on no cluster: recording a
value is the same work there, and passing it on is a thread's of Ray's, every 10 s.
"""

from __future__ import annotations

import argparse
import time

from search.metrics import TELL_SECONDS, Metrics
from search.tally import METERS, Tally
from search.view import Course, Quiet
from spaces.genome import Genome
from workers.evaluation import OK, PROBE, TRAIN, Evaluation, Outcome, Request
from workers.meters import RayMeters


class Workers:
    """Stands for a cluster."""

    def states(self) -> dict[str, int]:
        return {"busy": 16, "idle": 0, "starting": 0}


def evaluation(number: int) -> Evaluation:
    """Made up: more parameters, more accuracy, and a wide front."""
    stage = TRAIN if number % 100 == 99 else PROBE
    share = (number * 0.618) % 1
    metrics = {"accuracy": 0.5 + share / 2 - (number % 7) / 100, "params": 1000 * share + 1, "violation": 0.0}
    request = Request(number, stage, Genome((), 1.0, (share,), ()), "evolution")
    return Evaluation(request, Outcome(number, OK, metrics=metrics, seconds=1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description="What telling Prometheus costs a driver.")
    parser.add_argument("--evaluations", type=int, default=100_000)
    count = parser.parse_args().evaluations
    course = Course({PROBE: count, TRAIN: count // 100}, {PROBE: 1.0, TRAIN: 1.0}, 16, "params", 1000, 0.9)
    evaluations = [evaluation(number) for number in range(count)]
    metrics = Metrics(Quiet(), RayMeters(METERS, {"run": "benchmark", "run_id": "0"}), Workers())
    metrics._tally = Tally(course)
    hearing, telling, tells = 0.0, 0.0, 0
    for start in range(0, count, 1000):
        began = time.process_time()
        for each in evaluations[start : start + 1000]:
            metrics.committed(each, 16)
        heard = time.process_time()
        metrics.tell()
        hearing, telling, tells = hearing + heard - began, telling + time.process_time() - heard, tells + 1
    print(f"counting a commit: {1e6 * hearing / count:.1f} µs")
    print(
        f"telling all figures, of {count // 100:,} trainings: {1e3 * telling / tells:.2f} ms every {TELL_SECONDS:g} s"
    )


if __name__ == "__main__":
    main()
