"""What is said of finishes, and which settings may vary in them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from search.choice import front, to_finish, trained
from search.config import FinishConfig
from search.finished import before_finish, finish_notes
from search.loading import ConfigError, parse_config
from spaces.genome import Genome
from workers.evaluation import FAILED, FINISH, OK, TRAIN, Evaluation, Outcome, Request

CONFIG: dict[str, Any] = {"name": "x", "data": {"source": "digits"}}


def made(number: int, name: int, accuracy: float | None, params: int = 100, stage: str = TRAIN) -> Evaluation:
    request = Request(number, stage, Genome((), 1.0, (name / 1000,), ()), "evolution")
    if accuracy is None:
        return Evaluation(request, Outcome(number, FAILED, "nan"))
    metrics = {"accuracy": accuracy, "params": params, "violation": 0.0}
    return Evaluation(request, Outcome(number, OK, metrics=metrics))


STORY = [
    made(0, 1, 0.80, 100),
    made(1, 2, 0.90, 200),
    made(2, 3, 0.95, 300),
    made(3, 3, 0.97, 300, FINISH),
    made(4, 2, 0.90, 200, FINISH),
    made(5, 1, None, 100, FINISH),
]


def test_the_better_of_training_and_finish_stands() -> None:
    assert [e.request.number for e in trained(STORY)] == [0, 1, 3]
    assert [e.request.number for e in front(STORY, "params")] == [0, 1, 3]
    assert [e.request.number for e in trained(STORY, (TRAIN,))] == [0, 1, 2]


def test_a_finish_may_overtake_others_on_the_front() -> None:
    assert [e.request.number for e in front([*STORY[:2], made(2, 1, 0.91, 100, FINISH)], "params")] == [2]


def test_the_chosen_one_is_finished_first_then_the_most_accurate() -> None:
    first = STORY[:3]
    assert [e.request.number for e in to_finish(first, "params", first[0], 2)] == [0, 2]
    assert [e.request.number for e in to_finish(first, "params", first[2], 9)] == [2, 1, 0]
    assert to_finish([], "params", None, 3) == []


def test_what_finishing_gained_is_told() -> None:
    assert before_finish(STORY[3], STORY) == 0.95
    assert math.isnan(before_finish(STORY[2], STORY))
    [note] = finish_notes(STORY, FinishConfig(method="pbt", population=8, epochs=30))
    names = [e.request.genome.id for e in STORY[3:]]
    assert "(pbt, 8 × 30 epochs)" in note
    assert f"{names[0]} 95.00% → 97.00% (+2.00 points)" in note
    assert f"{names[1]} 90.00% → 90.00% (+0.00 points, so its training stands)" in note
    assert f"{names[2]} failed (nan), its training stands" in note
    assert finish_notes(STORY[:3], FinishConfig()) == []


@pytest.mark.parametrize(
    ("finish", "wanted"),
    [
        ({"method": "best"}, "finish.method"),
        ({"ranges": {"learning_rate": [0.1, 0.01]}}, "lowest value 0.1 is above the highest"),
        ({"ranges": {"distillation": [0.1, 1.5]}}, "distillation: 1.5 is not possible"),
        ({"ranges": {"schedule": [0, 1]}}, "'schedule' cannot vary"),
        ({"ranges": {"batch_size": [16, 64]}}, "'batch_size' cannot vary"),
        ({"ranges": {"learning_rate": [0.1]}}, "finish.ranges"),
        ({"method": "pbt", "ranges": {}}, "finish.ranges: pbt compares settings of training"),
        ({"method": "pbt", "ranges": {"push": [0.1, 0.5]}}, "finish.ranges: a member that trains with push"),
        ({"method": "pbt", "ranges": {"ema": [0.5, 0.9]}}, "finish.ranges: a member that trains with ema"),
        ({"ranges": {"warm_up": [0, 0.2]}}, "training.schedule: one_cycle rises by itself"),
        ({"population": 1}, "finish.population"),
    ],
)
def test_settings_that_cannot_be(finish: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted.replace("(", r"\(")):
        parse_config({**CONFIG, "finish": finish})


def test_by_default_nothing_is_finished() -> None:
    assert parse_config(CONFIG).finish.method == "none"
