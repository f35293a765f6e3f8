"""Who trains what next: the same however legs happen to end, and as Ray's own schedulers decide."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from workers.finish.explore import FACTORS, explore, sample
from workers.finish.leg import FAILED_SCORE, Leg
from workers.finish.methods import REDUCTION, WAITING, make_method, quantiles, rungs, standing
from workers.finish.settings import ASHA, PBT, PLAIN, FinishSettings
from workers.train import TrainSettings

RANGES = {"learning_rate": (0.0003, 0.01), "distillation": (0.2, 0.8)}
TRAINING = TrainSettings(epochs=27, distillation=0.5)
Scores = dict[tuple[int, int], float]


def course(
    finish: FinishSettings, score: Any, seed: int = 0, order: np.random.Generator | None = None, restarts: bool = False
) -> tuple[list[Leg], Scores]:
    """All legs in the order in which they ended: by member, or at random; the driver may be a new one for each."""
    training = finish.training(TRAINING)
    method = make_method(finish, training, seed)
    scores: Scores = {}
    legs: list[Leg] = []
    while True:
        if restarts:
            method = make_method(finish, training, seed)
        following = [leg for leg in standing(method, scores).following if isinstance(leg, Leg)]
        if not following:
            assert standing(method, scores).done
            return legs, scores
        leg = following[0 if order is None else int(order.integers(len(following)))]
        legs.append(leg)
        scores[leg.member, leg.number] = score(leg)


def noisy(seed: int, failures: float = 0.0) -> Any:
    """A score for every leg, some of them failures; few different values, so that there are ties."""

    def score(leg: Leg) -> float:
        rng = np.random.default_rng([seed, leg.member, leg.number])
        return FAILED_SCORE if rng.random() < failures else float(rng.integers(10)) / 10

    return score


finishes = st.builds(
    FinishSettings,
    method=st.sampled_from([PLAIN, PBT, ASHA]),
    population=st.integers(2, 9),
    epochs=st.integers(1, 27),
    interval=st.integers(1, 6),
    ranges=st.just(RANGES),
)


@settings(max_examples=60)
@given(finishes, st.integers(0, 99), st.integers(0, 99), st.sampled_from([0.0, 0.2, 0.7]), st.booleans())
def test_neither_the_order_of_results_nor_a_restart_changes_a_leg(
    finish: FinishSettings, seed: int, order: int, failures: float, restarts: bool
) -> None:
    legs, scores = course(finish, noisy(seed, failures), seed)
    again, same = course(finish, noisy(seed, failures), seed, np.random.default_rng(order), restarts)
    assert set(again) == set(legs)
    assert len(again) == len(legs)
    assert same == scores


@settings(max_examples=60)
@given(finishes, st.integers(0, 99), st.sampled_from([0.0, 0.3]))
def test_legs_of_a_member_follow_each_other_and_stay_within_their_ranges(
    finish: FinishSettings, seed: int, failures: float
) -> None:
    legs, scores = course(finish, noisy(seed, failures), seed)
    by_place = {(leg.member, leg.number): leg for leg in legs}
    for leg in legs:
        assert 0 < leg.until <= finish.epochs == leg.settings.epochs
        if leg.number == 0:
            assert leg.parent == leg.member
        else:
            assert by_place[leg.parent, leg.number - 1].until < leg.until
            assert scores[leg.parent, leg.number - 1] > FAILED_SCORE
        if leg.member > 0:
            assert all(low <= getattr(leg.settings, name) <= high for name, (low, high) in RANGES.items())
        assert replace(leg.settings, **{n: getattr(TRAINING, n) for n in RANGES}, epochs=27) == TRAINING
    assert by_place[0, 0].settings == finish.training(TRAINING), "the configured settings are always tried"
    if not failures:
        assert any(leg.last for leg in legs)


def test_a_plain_finish_is_one_training() -> None:
    legs, _ = course(FinishSettings(PLAIN, 8, 12, 5, RANGES), noisy(0))
    assert legs == [Leg(0, 0, 0, 12, replace(TRAINING, epochs=12))]


@given(st.integers(0, 999), st.integers(2, 12))
def test_a_population_keeps_its_best_and_replaces_its_worst(seed: int, population: int) -> None:
    finish = FinishSettings(PBT, population, 6, 2, RANGES)
    legs, scores = course(finish, noisy(seed), seed)
    assert len(legs) == 3 * population
    for number in (1, 2):
        before = [scores[m, number - 1] for m in range(population)]
        worst, best = quantiles(before)
        for leg in (leg for leg in legs if leg.number == number):
            origin = next(x for x in legs if (x.member, x.number) == (leg.parent, number - 1))
            if leg.member in worst:
                assert leg.parent in best
            else:
                assert leg.parent == leg.member
                assert leg.settings == origin.settings


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=2, max_size=20))
def test_who_is_replaced_by_whom_is_as_rays_population_based_training_says(scores: list[float]) -> None:
    theirs = PopulationBasedTraining(metric="score", mode="max", hyperparam_mutations={"x": [0, 1]})
    trials = [SimpleNamespace(number=m, is_finished=lambda: False) for m in range(len(scores))]
    theirs._trial_state = {_Key(t): SimpleNamespace(last_score=s) for t, s in zip(trials, scores, strict=True)}
    lower, upper = theirs._quantiles()
    assert quantiles(scores) == ([k.number for k in lower], [k.number for k in upper])


class _Key:
    """A trial as far as quantiles look at it."""

    def __init__(self, trial: Any) -> None:
        self.number = trial.number
        self.is_finished = trial.is_finished


def test_members_that_failed_are_all_replaced_and_never_copied() -> None:
    assert quantiles([FAILED_SCORE, 0.5, FAILED_SCORE, FAILED_SCORE]) == ([0, 2, 3], [1])
    legs, _ = course(FinishSettings(PBT, 4, 4, 2, RANGES), lambda leg: FAILED_SCORE)
    assert [leg.number for leg in legs] == [0] * 4, "a population that failed as a whole is over"


@settings(max_examples=80)
@given(st.integers(0, 999), st.integers(2, 12), st.integers(1, 4))
def test_who_goes_on_is_as_rays_asha_says_of_members_in_their_order(seed: int, population: int, interval: int) -> None:
    finish = FinishSettings(ASHA, population, 27, interval, RANGES)
    _, scores = course(finish, noisy(seed), seed)
    ends = rungs(finish)
    bracket = _Bracket(interval, 27, REDUCTION, 0)
    alive = set(range(population))
    for number, end in enumerate(ends[:-1]):
        for member in sorted(alive):
            trial = SimpleNamespace(trial_id=str(member))
            if bracket.on_result(trial, end, noisy(seed)(_place(member, number))) == TrialScheduler.STOP:
                alive.discard(member)
        assert {m for m in range(population) if (m, number + 1) in scores} == alive


def _place(member: int, number: int) -> Leg:
    return Leg(member, number, member, 1, TRAINING)


def test_rungs_grow_by_the_reduction() -> None:
    assert rungs(FinishSettings(ASHA, 4, 27, 1)) == (1, 3, 9, 27)
    assert rungs(FinishSettings(ASHA, 4, 20, 5)) == (5, 15, 20)
    assert rungs(FinishSettings(ASHA, 4, 3, 5)) == (3,)


def test_a_wide_population_is_decided_quickly() -> None:
    legs, _ = course(FinishSettings(ASHA, 60, 81, 1, RANGES), lambda leg: leg.member / 100)
    assert len(legs) == 60 * 5, "each is better than all before it"


def test_a_member_waits_for_those_that_its_fate_depends_on() -> None:
    population = make_method(FinishSettings(PBT, 3, 4, 2, RANGES), TRAINING, 0)
    assert population.leg(0, 1, {(0, 0): 0.5, (1, 0): 0.5}) is WAITING
    asha = make_method(FinishSettings(ASHA, 3, 9, 3, RANGES), TRAINING, 0)
    assert isinstance(asha.leg(0, 1, {(0, 0): 0.5}), Leg), "the first to be recorded goes on"
    assert asha.leg(1, 1, {(1, 0): 0.5}) is WAITING
    assert asha.leg(1, 1, {(0, 0): 0.6, (1, 0): 0.5}) is None


@given(st.integers(0, 999))
def test_exploration_multiplies_or_draws_anew_within_the_range(seed: int) -> None:
    start = replace(TRAINING, learning_rate=0.003, distillation=0.7)
    changed = explore(start, RANGES, np.random.default_rng(seed))
    for name, (low, high) in RANGES.items():
        assert low <= getattr(changed, name) <= high
    assert replace(changed, learning_rate=0.003, distillation=0.7) == start
    assert changed == explore(start, RANGES, np.random.default_rng(seed))


def test_a_quarter_is_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    ratios = [explore(TRAINING, {"learning_rate": (1e-9, 1.0)}, rng).learning_rate / 0.003 for _ in range(2000)]
    multiplied = [r for r in ratios if any(math.isclose(r, f) for f in FACTORS)]
    assert len(multiplied) / 2000 == pytest.approx(0.75, abs=0.04)
    assert sum(r > 1 for r in multiplied) / len(multiplied) == pytest.approx(0.5, abs=0.05)


def test_rates_are_drawn_by_their_logarithm_and_shares_evenly() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample(TRAINING, {"learning_rate": (1e-4, 1e-2), "distillation": (0.0, 1.0)}, rng) for _ in range(2000)]
    assert np.median([s.learning_rate for s in drawn]) == pytest.approx(1e-3, rel=0.15)
    assert np.median([s.distillation for s in drawn]) == pytest.approx(0.5, abs=0.05)


def test_a_range_of_one_value_and_one_that_starts_at_nothing() -> None:
    drawn = sample(TRAINING, {"weight_decay": (0.0, 0.0), "temperature": (2.0, 2.0)}, np.random.default_rng(0))
    assert (drawn.weight_decay, drawn.temperature) == (0.0, 2.0)


def test_a_leg_survives_its_file() -> None:
    leg = Leg(3, 2, 1, 9, replace(TRAINING, learning_rate=0.1 + 0.2))
    assert Leg.from_json(leg.to_json()) == leg
    assert {f.name for f in fields(TrainSettings)} <= set(leg.to_json()["settings"])
