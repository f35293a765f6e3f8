"""The surrogate in a search: what it proposes and promotes, when it steers, and that it helps where it can."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_space import evaluate, tiny_space

from search.front import Point, hypervolume
from search.plan import PlanSettings, SearchPlan
from search.strategies import make_strategy
from search.surrogate.guided import Guidance, Guided
from search.surrogate.inner import evolve
from search.surrogate.inputs import PROBED, Candidate, matrix
from search.surrogate.predictor import FEWEST as FEWEST_TRAININGS
from search.surrogate.record import FEWEST, LEAST_TAU, ROLLING, STRIKES, Foretold, Record, rank_correlation
from search.surrogate.surrogate import Surrogate
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, TRAIN, Evaluation, Outcome, Request

SPACE = tiny_space()
BASE = SPACE.layouts[0,].cost(SPACE.layouts[0,].full()).params


def answer(request: Request, noise: float = 0.3) -> Evaluation:
    """A probe sees the error darkly, a training sees it."""
    metrics = evaluate(SPACE, request.genome)
    if request.stage == PROBE:
        doubt = np.random.default_rng(int(request.genome.id, 16)).normal(0, noise)
        odds = math.log(metrics["accuracy"] / (1 - metrics["accuracy"] + 1e-9)) + doubt
        metrics["accuracy"] = metrics["refit_accuracy"] = 1 / (1 + math.exp(-odds)) * 0.8
    return Evaluation(request, Outcome(request.number, OK, metrics=metrics))


GUIDANCE = Guidance(1000)


def settings(trainings: int = 16, probes: int = 96) -> PlanSettings:
    return PlanSettings("evolution", probes, trainings, trainings // 2, 12, "params", False, 1, 1, None)


def course(plan: SearchPlan, window: int = 1, noise: float = 0.3) -> list[Evaluation]:
    asked: list[Request] = []
    told: list[Evaluation] = []
    while True:
        while len(asked) - len(told) < window and (request := plan.ask(len(asked))) is not None:
            asked.append(request)
        if len(told) == len(asked):
            return told
        told.append(answer(asked[len(told)], noise))
        plan.tell(told[-1])


def volume(evaluations: Sequence[Evaluation]) -> float:
    trained = [e for e in evaluations if e.request.stage == TRAIN]
    return hypervolume([Point(0.0, (1 - e.metrics["accuracy"], e.metrics["params"] / BASE)) for e in trained])


@pytest.mark.thorough
def test_it_finds_a_better_front_with_as_many_trainings() -> None:
    gains = []
    for seed in range(5):
        with_, without = (volume(course(SearchPlan(SPACE, settings(), 1.0, seed, g))) for g in (GUIDANCE, None))
        gains.append(with_ - without)
    assert np.mean(gains) > 0
    assert sum(g > 0 for g in gains) >= 4


def test_the_course_is_a_function_of_the_seed() -> None:
    first, second = ([e.request for e in course(SearchPlan(SPACE, settings(), 1.0, 3, GUIDANCE), 7)] for _ in range(2))
    assert first == second
    assert [r.forecast for r in first] == [r.forecast for r in second]


def test_every_training_is_of_a_probed_candidate_none_twice_and_foretold_once_there_is_a_forecast() -> None:
    evaluations = course(SearchPlan(SPACE, settings(), 1.0, 0, GUIDANCE), 4)
    probed: set[str] = set()
    trained: list[Request] = []
    for e in evaluations:
        if e.request.stage == PROBE:
            probed.add(e.request.genome.id)
        else:
            assert e.request.genome.id in probed
            trained.append(e.request)
    assert len({r.genome.id for r in trained}) == len(trained) == 16
    assert sum(r.stage == PROBE for r in (e.request for e in evaluations)) == 96
    foretold = [r.forecast is not None for r in trained]
    assert not any(foretold[:FEWEST_TRAININGS])
    assert all(foretold[FEWEST_TRAININGS + 1 :])
    assert all(r.forecast[1] < r.forecast[0] < r.forecast[2] for r in trained if r.forecast)


def test_some_proposals_are_unscreened() -> None:
    class Plain:
        asked = 0

        def ask(self, number: int) -> Genome:
            self.asked += 1
            return SPACE.sample(np.random.default_rng(number))

        def tell(self, evaluation: Evaluation) -> None: ...

    plain, surrogate = Plain(), taught(12)
    guided = Guided(plain, surrogate, 0)
    for number in range(100, 160):
        guided.tell(answer(Request(number, PROBE, guided.ask(number), "evolution")))
    assert 3 <= plain.asked <= 20


def test_a_space_with_nothing_new_is_not_searched_again_at_every_proposal() -> None:
    class Exhausted(Surrogate):
        evolutions = 0
        ready = True

        def propose(self, count: int, number: int) -> list[Genome]:
            self.evolutions += 1
            return []

    surrogate = Exhausted(SPACE, "params", BASE, 500, 0)
    guided = Guided(make_strategy("random", SPACE, 8, "params", 0), surrogate, 0, picks=10)
    for number in range(100):
        guided.ask(number)
    assert 1 <= surrogate.evolutions <= 10


def taught(trainings: int) -> Surrogate:
    """A surrogate after ``trainings`` trainings of random candidates and as many probes again."""
    surrogate = Surrogate(SPACE, "params", BASE, 500, 0)
    for i in range(2 * trainings):
        genome = SPACE.sample(np.random.default_rng(i))
        surrogate.tell(answer(Request(2 * i, PROBE, genome, "evolution")))
        if i < trainings:
            surrogate.tell(answer(Request(2 * i + 1, TRAIN, genome, "evolution")))
    return surrogate


def test_it_is_not_ready_before_there_are_enough_trainings() -> None:
    assert not taught(FEWEST_TRAININGS - 1).ready
    assert taught(FEWEST_TRAININGS - 1).promote(3) == []
    assert taught(FEWEST_TRAININGS).ready


def test_failed_and_infeasible_evaluations_teach_nothing() -> None:
    surrogate = taught(8)
    before = surrogate.propose(4, 0)
    genome = SPACE.sample(np.random.default_rng(99))
    surrogate.tell(Evaluation(Request(90, PROBE, genome, "evolution"), Outcome(90, FAILED, "oom")))
    beyond = answer(Request(91, TRAIN, genome, "evolution"))
    surrogate.tell(Evaluation(beyond.request, Outcome(91, OK, metrics={**beyond.metrics, "violation": 0.2})))
    surrogate.tell(Evaluation(beyond.request, Outcome(91, OK, metrics={"params": 3})))
    assert surrogate.propose(4, 0) == before


def test_forecasts_that_do_not_come_true_end_the_steering_and_good_ones_begin_it_again() -> None:
    record = Record()
    record.judge()
    assert record.trusted
    for i in range(FEWEST):
        record.add(Foretold(float(i), 0.5, float(-i)))
    record.judge()
    assert record.trusted, "once may be chance"
    record.judge()
    assert not record.trusted
    for i in range(20):
        record.add(Foretold(float(i), 0.5, float(i)))
    record.judge()
    assert record.trusted
    assert record.tau > LEAST_TAU


def test_forecasts_that_probes_alone_beat_are_not_followed() -> None:
    rng = np.random.default_rng(0)
    for ahead, kept in ((True, False), (False, True)):
        record = Record()
        for trained in np.linspace(0.5, 0.9, ROLLING):
            probe = trained if ahead else rng.random()
            record.add(Foretold(trained + 0.1 * rng.normal(), probe, trained))
        for _ in range(STRIKES):
            record.judge()
        assert LEAST_TAU < record.tau < 0.8
        assert record.trusted is kept


def test_a_surrogate_without_trust_proposes_nothing_and_the_plain_strategy_goes_on() -> None:
    surrogate = taught(10)
    assert surrogate.ready
    for i in range(FEWEST):
        surrogate.record.add(Foretold(float(i), 0.5, float(-i)))
    surrogate.record.judge()
    surrogate.record.judge()
    assert not surrogate.ready


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=FEWEST - 1))
def test_few_pairs_have_no_rank_correlation(pairs: list[tuple[float, float]]) -> None:
    assert math.isnan(rank_correlation(pairs))


def test_inner_evolution_improves_on_its_start_within_budget_and_repeats_none_of_it() -> None:
    def errors(genomes: Sequence[Genome]) -> np.ndarray:
        return np.array([1 - evaluate(SPACE, g)["accuracy"] for g in genomes])

    start = [SPACE.sample(np.random.default_rng(i)) for i in range(20)]
    found = evolve(SPACE, errors, "params", start, np.random.default_rng(0))
    assert found == evolve(SPACE, errors, "params", start, np.random.default_rng(0))
    assert len(set(found)) == len(found)
    assert not set(found) & set(start)
    assert all(SPACE.budget.met(SPACE.cost(g)) for g in found)

    def volume_of(genomes: Sequence[Genome]) -> float:
        return hypervolume(
            [Point(0.0, (e, SPACE.cost(g).params / BASE)) for g, e in zip(genomes, errors(genomes), strict=True)]
        )

    assert volume_of(found[:40]) > volume_of(start) + 0.02


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.surrogate.surrogate.MOST_KEPT", 40)
    surrogate = taught(30)
    for i in range(200):
        genome = SPACE.sample(np.random.default_rng(1000 + i))
        surrogate.tell(answer(Request(100 + i, PROBE, genome, "evolution")))
        assert len(surrogate._probed) <= 41
    assert len(surrogate.promote(2)) == 2


def test_inputs_that_a_candidate_lacks_are_named() -> None:
    genome = SPACE.sample(np.random.default_rng(0))
    full = Candidate(genome, {"accuracy": 0.5, "loss": 1.0})
    with pytest.raises(ValueError, match="lacks 'loss'"):
        matrix(SPACE, [full, Candidate(genome, {"accuracy": 0.5})], PROBED)
