"""Successive halving: where trainings pause, and who goes on."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_space import tiny_space

from search.halving import rung_epochs, survivors
from search.rungs import Rungs, Step
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from workers.evaluation import FAILED, OK, RUNG, TRAIN, Evaluation, Outcome, Request


def genomes(count: int) -> list[Genome]:
    space = tiny_space()
    found: dict[str, Genome] = {}
    number = 0
    while len(found) < count:
        genome = space.sample(numpy_generator(0, "rungs", number))
        found[genome.id], number = genome, number + 1
    return list(found.values())


def result(step: Step, accuracy: float, params: int = 100, status: str = OK) -> Evaluation:
    metrics = {"accuracy": accuracy, "params": params, "epochs": step.epochs or 0}
    request = Request(0, step.stage, step.genome, "test", epochs=step.epochs)
    return Evaluation(request, Outcome(0, status, metrics=metrics if status == OK else {}))


def started(rungs: Rungs) -> list[Step]:
    found = []
    while (step := rungs.next()) is not None:
        found.append(step)
    return found


@given(st.integers(1, 500), st.integers(0, 4), st.integers(2, 5))
def test_rungs_rise_by_the_factor_or_are_refused(epochs: int, rungs: int, reduction: int) -> None:
    try:
        levels = rung_epochs(epochs, rungs, reduction)
    except ValueError:
        assert reduction**rungs > epochs // reduction
        return
    assert len(levels) == rungs
    ends = (*levels, epochs)
    assert list(ends) == sorted(set(ends))
    assert all(low >= 1 and abs(low - high / reduction) < 1 for low, high in pairwise(ends))


def test_how_many_get_how_far() -> None:
    assert survivors(27, 2, 3) == [27, 9, 3]
    assert survivors(2, 2, 3) == [2, 1, 1]
    assert survivors(12, 0, 3) == [12]


def test_without_rungs_all_are_trained_in_order() -> None:
    rungs = Rungs((), 3, "params")
    entrants = [(genome, (0.9, 0.8, 0.95)) for genome in genomes(4)]
    rungs.enter(entrants)
    rungs.close()
    assert started(rungs) == [Step(genome, TRAIN, None, forecast) for genome, forecast in entrants]
    assert rungs.stopped() == []


@given(st.permutations(range(9)))
def test_by_the_last_result_the_best_third_have_gone_on_whatever_the_order(order: list[int]) -> None:
    rungs = Rungs((2,), 3, "params")
    rungs.enter((genome, None) for genome in genomes(9))
    first = started(rungs)
    assert all((step.stage, step.epochs) == (RUNG, 2) for step in first)
    on: list[Genome] = []
    for count, i in enumerate(order, start=1):
        rungs.tell(result(first[i], accuracy=i / 10))
        on += [step.genome for step in started(rungs)]
        best = sorted(order[:count])[-(count // 3) :] if count >= 3 else []
        assert {first[j].genome.id for j in best} <= {genome.id for genome in on}
    assert len({genome.id for genome in on}) == len(on)
    assert len(rungs.stopped()) == 9 - len(on)


def test_a_small_network_goes_on_beside_an_accurate_one() -> None:
    rungs = Rungs((1,), 3, "params")
    rungs.enter((genome, None) for genome in genomes(6))
    first = started(rungs)
    sizes, accuracies = (100, 90, 80, 70, 60, 10), (0.99, 0.5, 0.5, 0.5, 0.5, 0.6)
    for step, size, accuracy in zip(first, sizes, accuracies, strict=True):
        rungs.tell(result(step, accuracy, size))
    assert [step.genome for step in started(rungs)] == [first[0].genome, first[5].genome]


def test_the_best_of_too_few_reaches_the_end_once_no_more_will_come() -> None:
    rungs = Rungs((1, 3), 3, "params")
    rungs.enter((genome, (0.9, 0.8, 1.0)) for genome in genomes(2))
    low, high = started(rungs)
    rungs.tell(result(low, 0.4))
    rungs.tell(result(high, 0.6))
    assert started(rungs) == []
    rungs.close()
    (second,) = started(rungs)
    assert (second.genome, second.stage, second.epochs) == (high.genome, RUNG, 3)
    rungs.tell(result(second, 0.7))
    assert started(rungs) == [Step(high.genome, TRAIN, None, (0.9, 0.8, 1.0))]
    assert rungs.stopped() == [low.genome.id]


def test_who_failed_does_not_go_on() -> None:
    rungs = Rungs((1,), 2, "params")
    rungs.enter((genome, None) for genome in genomes(2))
    for step in started(rungs):
        rungs.tell(result(step, 0.5, status=FAILED))
    rungs.close()
    assert started(rungs) == []


def test_rungs_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="5 epochs have no room for 3 rungs"):
        rung_epochs(5, 3, 3)
