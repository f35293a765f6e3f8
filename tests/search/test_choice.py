"""Who is trained, who is on the front, and who is shipped."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.choice import Promising, choose, front, trained
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, SCRATCH, TRAIN, Evaluation, Outcome, Request


def made(
    number: int, accuracy: float, params: float, stage: str = PROBE, origin: str = "evolution", **more: float
) -> Evaluation:
    genome = Genome((), 1.0, (number / 1000,), ())
    request = Request(number, stage, genome, origin, int(more.pop("repeat", 0)))
    metrics = {"accuracy": accuracy, "params": params, "violation": 0.0, **more}
    return Evaluation(request, Outcome(number, OK, metrics=metrics))


def failed(number: int, stage: str = PROBE) -> Evaluation:
    request = Request(number, stage, Genome((), 1.0, (number / 1000,), ()), "evolution")
    return Evaluation(request, Outcome(number, FAILED, "oom"))


def numbers(evaluations: list[Evaluation]) -> list[int]:
    return [e.request.number for e in evaluations]


def promote(probes: list[Evaluation], count: int, earlier: int = 0) -> list[Evaluation]:
    """The next ``count`` promotions, after ``earlier`` others."""
    promising = Promising(count + earlier, "params")
    for probe in probes:
        promising.add(probe)
    promising.promote(earlier)
    return promising.promote(count)


accuracies = st.sampled_from([0.1, 0.5, 0.5, 0.8, 0.9])
probes = st.lists(st.tuples(accuracies, st.integers(1, 5), st.sampled_from([0.0, 0.0, 0.1])), max_size=20).map(
    lambda rows: [made(n, a, p, violation=v) for n, (a, p, v) in enumerate(rows)]
)


@given(probes, st.integers(0, 10), st.integers(0, 10))
def test_promotion_fills_its_places_with_fresh_feasible_probes(
    found: list[Evaluation], earlier: int, count: int
) -> None:
    before = {e.request.number for e in promote(found, earlier)}
    ready = [e for e in found if e.metrics["violation"] == 0 and e.request.number not in before]
    chosen = promote([*found, failed(900)], count, earlier)
    assert len(chosen) == min(count, len(ready))
    assert set(numbers(chosen)) <= set(numbers(ready))
    assert len(set(numbers(chosen))) == len(chosen)
    if chosen:
        assert chosen[0].metrics["accuracy"] == max(e.metrics["accuracy"] for e in ready)


def test_forgetting_hopeless_probes_changes_no_promotion() -> None:
    """Memory is bounded: after thousands of probes, the same are promoted as from all of them at once."""
    rng = np.random.default_rng(0)
    found = [made(n, float(rng.integers(0, 80)) / 100, float(rng.integers(1, 500))) for n in range(3000)]
    bounded, everything = Promising(6, "params"), Promising(10_000, "params")
    for place, probe in enumerate(found):
        bounded.add(probe)
        everything.add(probe)
        if place % 1000 == 999:
            assert numbers(bounded.promote(2)) == numbers(everything.promote(2))
    assert len(bounded._probes) < 400 < len(everything._probes)


def test_promotion_takes_the_best_and_a_spread_by_turns() -> None:
    found = [made(0, 0.90, 100), made(1, 0.89, 99), made(2, 0.88, 98), made(3, 0.2, 1), made(4, 0.6, 40)]
    assert numbers(promote(found, 4)) == [0, 3, 1, 4]


def test_a_spread_is_told_from_all_promotions_so_far() -> None:
    found = [made(0, 0.9, 100), made(1, 0.3, 1), made(2, 0.31, 1.1), made(3, 0.6, 12)]
    assert numbers(promote(found, 2)) == [0, 1]
    assert numbers(promote(found, 1, earlier=2)) == [3]


def test_promotion_goes_by_the_refit_accuracy_where_there_is_one() -> None:
    found = [made(0, 0.9, 10, refit_accuracy=0.5), made(1, 0.1, 10, refit_accuracy=0.8)]
    assert numbers(promote(found, 1)) == [1]


def test_a_genome_probed_twice_is_promoted_once() -> None:
    first = made(0, 0.9, 10)
    again = Evaluation(Request(1, PROBE, first.request.genome, "evolution"), first.outcome)
    assert numbers(promote([first, again, made(2, 0.8, 10)], 2)) == [1, 2]
    assert numbers(promote([first, again], 2)) == [1]


def test_trained_are_the_searchs_own_first_successes_within_budget() -> None:
    own = made(1, 0.9, 10, TRAIN)
    others = [
        made(2, 0.9, 10, PROBE),
        made(3, 0.9, 10, SCRATCH),
        made(4, 0.9, 10, TRAIN, "control:uniform"),
        made(5, 0.9, 10, TRAIN, repeat=1),
        made(6, 0.9, 10, TRAIN, violation=0.01),
        failed(7, TRAIN),
    ]
    assert trained([*others, own]) == [own]


def test_the_front_is_sorted_by_cost_and_holds_no_dominated_one() -> None:
    found = [made(0, 0.9, 50, TRAIN), made(1, 0.8, 20, TRAIN), made(2, 0.7, 30, TRAIN), made(3, 0.95, 90, TRAIN)]
    assert numbers(front([*found, made(4, math.nan, 1, TRAIN)], "params")) == [1, 0, 3]
    assert front([], "params") == []


@pytest.mark.parametrize(
    ("max_drop", "expected"),
    [(None, 3), (0.2, 1), (0.05, 0), (0.001, 3), (0.0, 3)],
)
def test_the_choice(max_drop: float | None, expected: int) -> None:
    """The most accurate; or the cheapest near the base network, where one is near."""
    found = [made(0, 0.90, 50, TRAIN), made(1, 0.80, 20, TRAIN), made(2, 0.80, 20, TRAIN), made(3, 0.93, 90, TRAIN)]
    chosen = choose(found, "params", 0.94, max_drop)
    assert chosen is not None
    assert chosen.request.number == expected


def test_the_cheaper_of_equals_is_chosen() -> None:
    found = [made(0, 0.9, 50, TRAIN), made(1, 0.9, 20, TRAIN), made(2, 0.9, 20, TRAIN)]
    chosen = choose(found, "params", 1.0, None)
    assert chosen is not None
    assert chosen.request.number == 1


def test_nothing_trained_nothing_chosen() -> None:
    assert choose([made(0, 0.9, 10), failed(1, TRAIN)], "params", 0.9, 0.1) is None
