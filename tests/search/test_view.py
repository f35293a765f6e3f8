"""The numbers behind the progress display."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from search.live import Terminal, summary_line
from search.view import Course, Progress
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, TRAIN, Evaluation, Outcome, Request

COURSE = Course(
    {PROBE: 10, TRAIN: 2}, {PROBE: 1.0, TRAIN: 30.0}, workers=2, cost="params", base_cost=1000, base_accuracy=0.9
)


def made(number: int, stage: str, accuracy: float = 0.5, seconds: float = 2.0) -> Evaluation:
    metrics = {"accuracy": accuracy, "params": 100.0 + number, "violation": 0.0}
    outcome = Outcome(number, OK, metrics=metrics, seconds=seconds)
    return Evaluation(Request(number, stage, Genome((), 1.0, (number / 100,), ()), "evolution"), outcome)


def failed(number: int) -> Evaluation:
    request = Request(number, PROBE, Genome((), 1.0, (number / 100,), ()), "evolution")
    return Evaluation(request, Outcome(number, FAILED, "oom", seconds=2.0))


def test_time_left_is_what_stages_took_or_are_forecast_to_take() -> None:
    progress = Progress(COURSE)
    assert progress.left == pytest.approx((10 * 1.0 + 2 * 30.0) / 2)
    for number in range(4):
        progress.hear(made(number, PROBE), 3)
    assert progress.left == pytest.approx((6 * 2.0 + 2 * 30.0) / 2)
    progress.hear(made(4, TRAIN, seconds=10.0), 3)
    assert progress.left == pytest.approx((6 * 2.0 + 1 * 10.0) / 2)


def test_replayed_evaluations_count_as_done_but_not_for_the_rate() -> None:
    progress = Progress(COURSE)
    progress.hear(made(0, PROBE), 0, replayed=True)
    assert progress.done[PROBE] == 1
    assert progress.rate == 0


def test_the_line_says_what_is_done_failed_and_best() -> None:
    progress = Progress(COURSE)
    for evaluation in (made(0, PROBE), failed(1), made(2, TRAIN, 0.8), made(3, TRAIN, 0.7)):
        progress.hear(evaluation, 5)
    line = summary_line(progress)
    for part in (
        "4/12 done",
        "5 under way",
        "2 probed",
        "2 trained",
        "1 failed",
        "left",
        "best 80.0% with 102 parameters",
    ):
        assert part in line


def test_without_a_terminal_there_are_plain_lines() -> None:
    out = io.StringIO()
    view = Terminal(Console(file=out, width=80))
    view.searching(COURSE)
    view.committed(made(0, TRAIN, 0.8), 1)
    view.warn("something\x1b[31m odd")
    view.searched()
    assert "1/12 done" in out.getvalue()
    assert "warning: something [31m odd" in out.getvalue()
    assert "\x1b" not in out.getvalue()
