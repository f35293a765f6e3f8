"""The course of a search: its length, who is trained, and what happens when candidates fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_space import evaluate, tiny_space

from search.engine import run_engine
from search.plan import PlanSettings, SearchPlan, course_counts
from search.strategies import STRATEGIES
from spaces.budget import Budget
from workers.evaluation import FAILED, FINISH, OK, PROBE, RECIPES, RUNG, SCRATCH, TRAIN, Evaluation, Outcome, Request
from workers.simulation import SimulatedCluster, lognormal_durations

SETTINGS = PlanSettings(
    strategy="evolution",
    probes=30,
    trainings=7,
    rounds=3,
    population=6,
    cost="params",
    controls=True,
    repeats=2,
    sensitivity_levels=2,
    max_drop=None,
)
Answer = Callable[[Request], Outcome]


class Log(list[Evaluation]):
    """An archive in memory."""

    append = list.extend  # type: ignore[assignment]


def well(request: Request) -> Outcome:
    """All goes well, and a training adds a little."""
    metrics = evaluate(tiny_space(), request.genome)
    metrics["accuracy"] *= 0.9 if request.stage == PROBE else 1.0
    return Outcome(request.number, OK, metrics=metrics)


def failing(*stages: str) -> Answer:
    return lambda r: Outcome(r.number, FAILED, "oom") if r.stage in stages else well(r)


def course(plan: SearchPlan, answer: Answer = well, window: int = 5) -> list[Evaluation]:
    """All evaluations, each committed as late as the window allows."""
    asked: list[Request] = []
    told: list[Evaluation] = []
    while True:
        while len(asked) - len(told) < window and (request := plan.ask(len(asked))) is not None:
            assert request.number == len(asked)
            asked.append(request)
        if len(told) == len(asked):
            assert plan.ask(len(asked)) is None, "the end is the end"
            return told
        told.append(Evaluation(asked[len(told)], answer(asked[len(told)])))
        plan.tell(told[-1])


def make(**changes: object) -> SearchPlan:
    return SearchPlan(tiny_space(), replace(SETTINGS, **changes), 0.95, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [4, 10, 20])
def test_rounds_no_shorter_than_the_window_go_over_into_one_another(window: int) -> None:
    settings = replace(SETTINGS, probes=60, trainings=6, rounds=3, controls=False)
    plan = SearchPlan(tiny_space(), settings, 0.95, 3, window=window)
    evaluations = course(plan, window=window)
    numbers = [e.request.number for e in evaluations if e.request.stage == TRAIN]
    probes = [e.request.number for e in evaluations if e.request.stage == PROBE]
    assert numbers == [*range(20 + window - 1, 20 + window + 1), *range(42 + window - 1, 42 + window + 1), 64, 65]
    assert len(probes) == 60
    assert plan_waits(settings, window, window) < plan_waits(settings, window, inf)


def plan_waits(settings: PlanSettings, window: int, known: float) -> int:
    """How often fewer than ``window`` evaluations are under way, before the last round ends."""
    plan = SearchPlan(tiny_space(), settings, 0.95, 3, window=known)
    asked: list[Request] = []
    waits = 0
    for told in range(60):
        while len(asked) - told < window and (request := plan.ask(len(asked))) is not None:
            asked.append(request)
        waits += len(asked) - told < window
        plan.tell(Evaluation(asked[told], well(asked[told])))
    return waits


def kinds(evaluations: list[Evaluation]) -> Counter[tuple[str, str]]:
    return Counter((e.request.stage, e.request.origin) for e in evaluations)


def test_the_whole_course() -> None:
    evaluations = course(make())
    groups = len(tiny_space().layouts[0,].names)
    assert kinds(evaluations) == {
        (PROBE, "control:sensitivity"): 2 * groups,
        (PROBE, "evolution"): 30,
        (TRAIN, "evolution"): 7,
        (TRAIN, "control:chosen"): 2,
        (SCRATCH, "control:scratch"): 2,
        (TRAIN, "control:uniform"): 2,
        (TRAIN, "control:sensitivity"): 2,
        (PROBE, "control:random"): 30,
        (TRAIN, "control:random"): 2,
    }
    assert Counter(e.request.stage for e in evaluations) == course_counts(tiny_space(), SETTINGS)


def test_recipes_are_controls_of_the_chosen_candidates_size() -> None:
    settings = replace(SETTINGS, recipes=RECIPES)
    evaluations = course(SearchPlan(tiny_space(), settings, 0.95, 3))
    chosen = {e.request.genome for e in evaluations if e.request.origin == "control:chosen"}
    for recipe in RECIPES:
        own = [e.request for e in evaluations if e.request.stage == recipe]
        assert [(r.origin, r.repeat) for r in own] == [(f"control:{recipe}", 1), (f"control:{recipe}", 2)]
        assert {r.genome for r in own} == chosen
    assert Counter(e.request.stage for e in evaluations) == course_counts(tiny_space(), settings)


def test_without_controls_there_is_only_the_search() -> None:
    evaluations = course(make(controls=False))
    assert kinds(evaluations) == {(PROBE, "evolution"): 30, (TRAIN, "evolution"): 7}
    without = replace(SETTINGS, controls=False)
    assert Counter(e.request.stage for e in evaluations) == {PROBE: 30, TRAIN: 7}
    assert course_counts(tiny_space(), without) == {PROBE: 30, TRAIN: 7, SCRATCH: 0}


LEVELS = (1, 3)
HALVED = {"probes": 60, "trainings": 27, "rungs": LEVELS, "controls": False}


def at_rungs(request: Request) -> Outcome:
    """What a training has reached by a rung is less than its end, and says something of it."""
    outcome = well(request)
    epochs = request.epochs or 9
    return replace(outcome, metrics={**outcome.metrics, "accuracy": outcome.metrics["accuracy"] * (1 - 0.3 / epochs)})


def rung_course(answer: Answer = at_rungs, **changes: object) -> list[Evaluation]:
    def with_epochs(request: Request) -> Outcome:
        outcome = answer(request)
        return replace(outcome, metrics={**outcome.metrics, "epochs": request.epochs or 9} if outcome.metrics else {})

    return course(make(**{**HALVED, **changes}), with_epochs)


def test_of_trainings_that_pause_a_third_go_on_at_each_rung() -> None:
    evaluations = rung_course()
    reached = Counter((e.request.stage, e.request.epochs) for e in evaluations)
    assert reached[RUNG, 1] == 27
    assert 9 <= reached[RUNG, 3] <= 18  # who goes on is decided as results come: some did so among few
    assert reached[RUNG, 3] // 3 <= reached[TRAIN, None] <= reached[RUNG, 3]
    places = {(e.request.genome.id, e.request.epochs or 9): e.request.number for e in evaluations if e.metrics}
    for e in evaluations:
        if e.request.stage == TRAIN:
            numbers = [places[e.request.genome.id, epochs] for epochs in (*LEVELS, 9)]
            assert numbers == sorted(numbers)


@pytest.mark.parametrize("trainings", [3, 4])
def test_one_at_least_is_trained_to_the_end(trainings: int) -> None:
    evaluations = rung_course(trainings=trainings)
    assert sum(e.request.stage == TRAIN for e in evaluations) >= 1


def test_a_training_that_fails_at_its_rung_does_not_go_on() -> None:
    evaluations = rung_course(failing(RUNG))
    assert {e.request.stage for e in evaluations} == {PROBE, RUNG}


def test_who_goes_on_depends_neither_on_workers_nor_on_their_speed() -> None:
    def metrics(request: Request) -> Mapping[str, float]:
        return {**at_rungs(request).metrics, "epochs": request.epochs or 9}

    def run(workers: int, seed: int) -> list[tuple[Request, int | None]]:
        log = Log()
        cluster = SimulatedCluster(workers, metrics, lognormal_durations(1.0, 60.0, seed), 0.1, seed=1)
        run_engine(make(**HALVED), cluster, log, 12)
        return [(e.request, e.request.epochs) for e in log]

    first = run(1, 0)
    assert run(5, 1) == first
    assert run(100, 2) == first


def finishing(gain: float) -> Answer:
    def answer(request: Request) -> Outcome:
        outcome = well(request)
        more = gain if request.stage == FINISH else 0.0
        return replace(
            outcome, metrics={**outcome.metrics, "accuracy": outcome.metrics["accuracy"] + more, "epochs": 3}
        )

    return answer


@pytest.mark.parametrize("gain", [0.01, -0.01])
def test_the_chosen_ones_are_finished_before_the_controls_and_the_better_one_ships(gain: float) -> None:
    plan = make(finishes=2)
    evaluations = course(plan, finishing(gain))
    counts = Counter(e.request.stage for e in evaluations)
    assert counts == course_counts(tiny_space(), replace(SETTINGS, finishes=2))
    places = [e.request.number for e in evaluations if e.request.stage == FINISH]
    own = [e for e in evaluations if (e.request.stage, e.request.origin) == (TRAIN, "evolution")]
    assert places == [own[-1].request.number + 1, own[-1].request.number + 2]
    first = evaluations[places[0]]
    assert first.request.genome == max(own, key=lambda e: e.metrics["accuracy"]).request.genome
    chosen = plan.chosen()
    assert chosen is not None
    assert chosen.request.stage == (FINISH if gain > 0 else TRAIN)
    assert chosen.request.genome == first.request.genome
    without = course(make(), finishing(gain))
    assert [e.request.genome for e in evaluations if e.request.stage != FINISH] == [e.request.genome for e in without]


def test_a_finish_that_fails_leaves_the_training() -> None:
    plan = make(finishes=7)
    evaluations = course(plan, failing(FINISH))
    assert 1 <= kinds(evaluations)[FINISH, "evolution"] <= 7
    chosen = plan.chosen()
    assert chosen is not None
    assert chosen.request.stage == TRAIN


def test_where_nothing_was_trained_nothing_is_finished() -> None:
    assert FINISH not in {e.request.stage for e in course(make(finishes=2), failing(TRAIN))}


def test_a_structural_search_comes_first_and_its_answer_starts_the_evolution() -> None:
    groups = len(tiny_space().layouts[0,].names)
    evaluations = course(make(bisections=2))
    found = kinds(evaluations)
    assert found[PROBE, "seed:steps"] == 2 * groups
    assert found[PROBE, "control:random"] == 30 + 2 * groups, "random search has as many probes"
    assert Counter(e.request.stage for e in evaluations) == course_counts(tiny_space(), replace(SETTINGS, bisections=2))
    own = [e.request.genome for e in evaluations if e.request.origin == "evolution"]
    assert len(set(own[3].keep)) > 2, "behind uniform, mean rank and sensitivity"
    assert own[3].blend == own[0].blend
    budget = tiny_space().budget
    assert budget.met(tiny_space().cost(own[3]))


def test_a_structural_search_takes_a_failed_probe_for_a_bad_one() -> None:
    evaluations = course(make(bisections=2), lambda r: failing(PROBE)(r) if r.origin == "seed:steps" else well(r))
    assert kinds(evaluations)[PROBE, "seed:steps"] == 2 * len(tiny_space().layouts[0,].names)
    assert kinds(evaluations)[TRAIN, "evolution"] == 7


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_runs_the_course(name: str) -> None:
    evaluations = course(make(strategy=name))
    assert len(evaluations) == sum(course_counts(tiny_space(), SETTINGS).values())
    budget = tiny_space().budget
    for e in evaluations:
        if e.request.origin == name:
            assert budget.met(tiny_space().cost(e.request.genome))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 25), st.integers(1, 20), st.integers(1, 5), st.integers(1, 40))
def test_trainings_are_of_probed_candidates_each_once(probes: int, trainings: int, rounds: int, window: int) -> None:
    rounds = min(rounds, trainings)
    evaluations = course(make(controls=False, probes=probes, trainings=trainings, rounds=rounds), window=window)
    probed = [e.request.genome.id for e in evaluations if e.request.stage == PROBE]
    promoted = [e.request.genome.id for e in evaluations if e.request.stage == TRAIN]
    assert len(probed) == probes
    assert len(promoted) <= min(trainings, probes)
    if trainings <= probes // (2 * rounds):
        assert len(promoted) == trainings
    assert len(set(promoted)) == len(promoted)
    for place, e in enumerate(evaluations):
        if e.request.stage == TRAIN:
            before = [x.request.genome.id for x in evaluations[:place] if x.request.stage == PROBE]
            assert e.request.genome.id in before


def test_rounds_follow_each_other() -> None:
    """10 probes, then 2 trainings; 10 and 2; 10 and 3: what is trained is chosen among all that was probed so far."""
    stages = [e.request.stage for e in course(make(controls=False))]
    assert stages == [*[PROBE] * 10, *[TRAIN] * 2, *[PROBE] * 10, *[TRAIN] * 2, *[PROBE] * 10, *[TRAIN] * 3]


def test_starting_individuals_come_first_and_within_budget() -> None:
    space = tiny_space()
    probes = [e for e in course(make()) if e.request.origin == "evolution" and e.request.stage == PROBE]
    uniform, ranked, sensitive = (e.request.genome for e in probes[:3])
    assert set(uniform.blend) == {(1.0, 0.0, 0.0)}
    assert ranked.blend[0] == pytest.approx([1 / 3] * 3, abs=2e-4)
    assert len(set(uniform.keep)) == len(set(ranked.keep)) == 1
    assert len(set(sensitive.keep)) > 1
    assert all(space.budget.met(space.cost(g)) for g in (uniform, ranked, sensitive))


def test_controls_have_the_chosen_ones_size_and_its_seeds() -> None:
    space, plan = tiny_space(), make()
    evaluations = course(plan)
    chosen = plan.chosen()
    assert chosen is not None
    assert chosen.metrics["accuracy"] == max(
        e.metrics["accuracy"] for e in evaluations if (e.request.stage, e.request.origin) == (TRAIN, "evolution")
    )
    size = Budget(params=int(chosen.metrics["params"]))
    repeats: dict[str, list[int]] = {}
    for e in evaluations:
        if e.request.repeat:
            repeats.setdefault(e.request.origin, []).append(e.request.repeat)
            assert size.met(space.cost(e.request.genome)), e.request.origin
    assert len(repeats) == 5
    assert all(found == [1, 2] for found in repeats.values())
    same = {e.request.genome.id for e in evaluations if e.request.origin in ("control:chosen", "control:scratch")}
    assert same == {chosen.request.genome.id}


def test_the_search_does_not_see_its_controls() -> None:
    """The search's own course is the same with longer controls behind it."""
    own = [e.request for e in course(make()) if e.request.origin == "evolution"]
    more = [e.request for e in course(make(repeats=4)) if e.request.origin == "evolution"]
    assert own == more


@pytest.mark.parametrize("stages", [(PROBE,), (PROBE, TRAIN, SCRATCH)])
def test_where_every_probe_fails_nothing_is_trained_and_the_course_ends(stages: tuple[str, ...]) -> None:
    plan = make()
    evaluations = course(plan, failing(*stages))
    groups = len(tiny_space().layouts[0,].names)
    assert kinds(evaluations) == {(PROBE, "control:sensitivity"): 2 * groups, (PROBE, "evolution"): 30}
    assert plan.chosen() is None


def test_where_every_training_fails_nothing_is_chosen() -> None:
    plan = make()
    evaluations = course(plan, failing(TRAIN))
    assert kinds(evaluations)[TRAIN, "evolution"] == 7
    assert not any(e.request.origin == "control:chosen" for e in evaluations)
    assert plan.chosen() is None


def test_failures_here_and_there_change_no_lengths() -> None:
    plan = make()
    evaluations = course(plan, lambda r: failing(PROBE, TRAIN)(r) if r.number % 4 == 1 else well(r))
    assert kinds(evaluations)[PROBE, "evolution"] == 30
    assert kinds(evaluations)[TRAIN, "evolution"] == 7
    failed = {e.request.genome.id for e in evaluations if e.request.stage == PROBE and not e.ok}
    assert not failed & {
        e.request.genome.id for e in evaluations if (e.request.stage, e.request.origin) == (TRAIN, "evolution")
    }
    assert plan.chosen() is not None


def test_an_infeasible_measurement_is_never_trained() -> None:
    def over(request: Request) -> Outcome:
        outcome = well(request)
        return replace(outcome, metrics={**outcome.metrics, "violation": 0.1 * (request.number % 2)})

    evaluations = course(make(), over)
    over_budget = {e.request.genome.id for e in evaluations if e.metrics["violation"] > 0 and e.request.stage == PROBE}
    within = {e.request.genome.id for e in evaluations if e.metrics["violation"] == 0 and e.request.stage == PROBE}
    trained = {e.request.genome.id for e in evaluations if (e.request.stage, e.request.origin) == (TRAIN, "evolution")}
    assert trained <= within
    assert not trained & (over_budget - within)


def test_the_course_is_the_same_on_any_cluster() -> None:
    def run(workers: int, seed: int) -> list[Request]:
        log = Log()
        durations = lognormal_durations(1.0, 60.0, seed)
        cluster = SimulatedCluster(workers, lambda r: well(r).metrics, durations, 0.1, seed=1)
        run_engine(make(bisections=1), cluster, log, 8)
        return [e.request for e in log]

    first = run(1, 0)
    assert run(5, 1) == first
    assert run(100, 2) == first
