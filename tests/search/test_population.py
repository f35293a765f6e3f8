"""The population: who is proposed, who survives, whose weights are still needed, and that it gets to its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.plan import PlanSettings, SearchPlan, course_counts
from search.ranges import PACE, Range
from search.strategies.population import Population, Proposal
from spaces.budget import Budget
from spaces.foundation import Foundation, Trunk, clusters_of
from spaces.genome import Genome
from spaces.groups import example_input
from spaces.growth import grow_structure
from spaces.inherit import kept_by_child
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import FAILED, INTERVAL, OK, PROBE, SCRATCH, TRAIN, Evaluation, Outcome, Request

RANGES = (Range("learning_rate", 0.001, 0.1), Range(PACE, 0.5, 0.9))
SIZE, INTERVALS, WINDOW = 6, 60, 4
SHAPE = (1, 8, 8)
Answer = Callable[[Request], Outcome]


@lru_cache(maxsize=1)
def foundation() -> Foundation:
    """Untrained networks that can grow by a module in their second stage, with random ranks, within three quarters."""
    network = build_network(NetworkSpec("inception", SHAPE, 10, {"stem": 8, "widths": [16, 16], "modules": [1, 1]}))
    networks = {growth: grow_structure(network, growth) for growth in ((0, 0), (0, 1))}
    layouts = {growth: make_layout(grown, example_input(SHAPE)) for growth, grown in networks.items()}
    rng = np.random.default_rng(5)
    trunks = {
        growth: Trunk(networks[growth], layout, {g.name: rng.random((2, g.size)) for g in layout.groups})
        for growth, layout in layouts.items()
    }
    base = layouts[0, 0]
    budget = Budget(params=base.cost(base.sizes).params * 3 // 4)
    return Foundation(Space(layouts, ("l1", "taylor"), clusters_of(layouts, "stage"), budget, mutation=0.3), trunks)


def make(seed: int = 3, intervals: int = INTERVALS, founders: tuple[Genome, ...] = ()) -> Population:
    return Population(foundation(), seed, SIZE, intervals, "params", RANGES, founders)


def well(request: Request) -> Outcome:
    """A member is as good as its structure, and better the nearer its learning rate is to 0.01."""
    space, genome = foundation().space, request.genome
    missing = 1.0 - space.widths(genome)[: len(space.ungrown.names)] / space.ungrown.sizes
    importance = np.exp(np.random.default_rng(7).normal(0.0, 1.5, len(missing)))
    rate = genome.settings[0] if genome.settings else 0.01
    error = float(importance @ missing**2 / importance.sum()) + 0.05 * abs(np.log10(rate / 0.01))
    cost = space.cost(genome)
    sizes = {"params": cost.params, "violation": space.budget.violation(cost)}
    return Outcome(request.number, OK, metrics={"accuracy": 1 - error, "epochs": 3, **sizes})


def sometimes_failing(request: Request) -> Outcome:
    return Outcome(request.number, FAILED, "nan", "simulated") if request.number % 3 == 1 else well(request)


def course(population: Population, answer: Answer = well, count: int = INTERVALS) -> list[tuple[Proposal, Evaluation]]:
    """Interval i is asked for after commit i − WINDOW."""
    proposals: list[Proposal] = []
    done: list[tuple[Proposal, Evaluation]] = []

    def commit() -> None:
        proposal = proposals[len(done)]
        request = Request(len(done), INTERVAL, proposal.genome, "population", parent=proposal.parent)
        done.append((proposal, Evaluation(request, answer(request))))
        population.tell(done[-1][1])

    for number in range(count):
        if number >= WINDOW:
            commit()
        proposals.append(population.ask(number))
    while len(done) < count:
        commit()
    return done


@pytest.mark.parametrize("answer", [well, sometimes_failing])
def test_children_can_inherit_from_their_parents(answer: Answer) -> None:
    space = foundation().space
    kept: dict[str, tuple[tuple[int, ...], dict[str, np.ndarray]]] = {}
    grown = 0
    for proposal, _ in course(make(), answer):
        genome = proposal.genome
        if proposal.parent:
            growth, channels = kept[proposal.parent]
            own = kept_by_child(foundation(), genome, growth, channels)
            grown += genome.growth != growth
        else:
            own = foundation().kept(genome)
        kept[genome.id] = (genome.growth, own)
        assert [len(own[name]) for name in space.layout(genome).names] == space.widths(genome).tolist()
        assert Genome.from_text(genome.text) == genome
        assert len(genome.settings) == len(RANGES)
        assert all(r.low <= v <= r.high for r, v in zip(RANGES, genome.settings, strict=True))
    assert len(kept) == INTERVALS, "each proposal is new"
    assert grown > 0


def test_parents_have_trained_and_survived_so_far() -> None:
    succeeded: set[str] = set()
    for proposal, evaluation in course(make(), sometimes_failing):
        assert not proposal.parent or proposal.parent in succeeded
        if evaluation.ok:
            succeeded.add(proposal.genome.id)


def test_it_is_a_function_of_its_seed_and_of_what_it_was_told() -> None:
    first = [p for p, _ in course(make())]
    assert [p for p, _ in course(make())] == first
    assert [p for p, _ in course(make(seed=4))] != first
    # A longer course tightens its budget later, so only one of the same length can be compared.
    assert [p for p, _ in course(make(), count=25)] == first[:25]


def test_it_comes_to_its_budget_and_better_than_its_founders() -> None:
    space, population = foundation().space, make()
    members = course(population)
    promoted = population.promote(3)
    assert len(promoted) == 3
    assert all(space.budget.met(space.cost(e.request.genome)) for e in promoted)
    founders = [e for p, e in members if not p.parent and space.budget.met(space.cost(p.genome))]
    best = max(e.metrics["accuracy"] for e in promoted)
    assert best > max((e.metrics["accuracy"] for e in founders), default=0.0)
    wide = [space.cost(p.genome).params for p, _ in members if not p.parent]
    assert max(wide) > space.budget.limits()["params"], "it starts wide and prunes on the way"


def test_founders_that_are_given_come_first_as_the_networks_they_are() -> None:
    space = foundation().space
    given_ = tuple(space.repair(replace(space.uniform(keep), width=0.9)) for keep in (0.5, 0.7))
    members = [p for p, _ in course(make(founders=given_))][: len(given_)]
    assert all(not p.parent for p in members)
    for mine, theirs in zip(members, given_, strict=True):
        assert space.widths(mine.genome).tolist() == space.widths(theirs).tolist()
        assert foundation().kept(mine.genome).keys() == foundation().kept(theirs).keys()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_weights_go_only_when_nobody_can_ask_for_them(seed: int, failing: bool) -> None:
    population, answer = make(seed), sometimes_failing if failing else well
    on_disk: set[str] = set()
    waiting: list[tuple[int, Proposal]] = []
    gone: set[str] = set()
    for number in range(INTERVALS):
        if len(waiting) == WINDOW:
            i, proposal = waiting.pop(0)
            assert not proposal.parent or proposal.parent in on_disk
            request = Request(i, INTERVAL, proposal.genome, "population", parent=proposal.parent)
            outcome = answer(request)
            population.tell(Evaluation(request, outcome))
            on_disk.add(proposal.genome.id)  # a failed one may have got as far as its weights
            retired = set(population.retired())
            assert retired <= on_disk
            assert not retired & gone
            gone |= retired
            on_disk -= retired
        proposal = population.ask(number)
        assert not proposal.parent or proposal.parent in on_disk
        waiting.append((number, proposal))
    assert len(on_disk) <= SIZE + WINDOW
    assert {e.request.genome.id for e in population.promote(SIZE)} <= on_disk


def test_it_prunes_to_whatever_budget_its_space_promises() -> None:
    space = replace(foundation().space, min_keep=0.4, min_width=0.1)
    budget = Budget(params=int(1.2 * space.cost(space.least()).params))
    tight = Foundation(replace(space, budget=budget), foundation().trunks)
    population = Population(tight, 3, SIZE, 120, "params", RANGES)

    def answer(request: Request) -> Outcome:
        violation = budget.violation(space.cost(request.genome))
        return Outcome(request.number, OK, metrics={**well(request).metrics, "violation": violation})

    course(population, answer, 120)
    assert population.promote(3)


def test_where_nothing_new_is_left_no_member_is_there_twice() -> None:
    space = replace(foundation().space, mutation=1.0)
    population = Population(Foundation(space, foundation().trunks), 3, SIZE, 40, "params", ())
    course(population, well, 40)
    ids = [e.request.genome.id for e in population.promote(SIZE)]
    assert len(set(ids)) == len(ids)


def test_nothing_but_failures_is_survived() -> None:
    population = make()
    course(population, lambda r: Outcome(r.number, FAILED, "oom", "simulated"))
    assert population.promote(3) == []
    assert len(population.retired()) == INTERVALS, "whatever they left on disk goes"


PLAN = PlanSettings(
    strategy="population",
    probes=40,
    trainings=4,
    rounds=3,
    population=SIZE,
    cost="params",
    controls=True,
    repeats=2,
    sensitivity_levels=1,
    max_drop=None,
    ranges=RANGES,
)


def test_the_whole_course() -> None:
    plan = SearchPlan(foundation().space, PLAN, 0.95, 3, foundation=foundation())
    told: list[Evaluation] = []
    asked: list[Request] = []
    while True:
        while len(asked) - len(told) < WINDOW and (request := plan.ask(len(asked))) is not None:
            asked.append(request)
        if len(told) == len(asked):
            break
        told.append(Evaluation(asked[len(told)], well(asked[len(told)])))
        plan.tell(told[-1])
    stages = [e.request.stage for e in told]
    counts = {stage: stages.count(stage) for stage in (INTERVAL, PROBE, TRAIN, SCRATCH)}
    assert counts == course_counts(foundation().space, PLAN)
    own = [e.request for e in told if e.request.stage == TRAIN and e.request.origin == "population"]
    assert [r.parent for r in own] == [r.genome.id for r in own], "each goes on from its own weights"
    chosen = plan.chosen()
    assert chosen is not None
    again = [e.request for e in told if e.request.origin == "control:chosen"]
    assert all(r.genome == chosen.request.genome and r.parent == chosen.request.parent for r in again)
    alike = [e.request for e in told if e.request.origin in ("control:uniform", "control:scratch", "control:random")]
    trained = [r for r in alike if r.stage != PROBE]
    assert trained
    assert all(r.epochs == 3 and not r.parent for r in trained), "controls train as long as the chosen's ancestors"


@given(st.floats(1e-4, 1.0), st.floats(1.0, 1000.0), st.floats(0, 1), st.integers(0, 10**6))
def test_settings_stay_in_range_and_steps_are_small(low: float, factor: float, place: float, seed: int) -> None:
    drawn = Range("x", low, low * factor)
    rng = numpy_generator(seed, "test")
    value = drawn.draw(rng)
    assert drawn.low <= value <= drawn.high
    for _ in range(20):
        value = drawn.perturb(value, rng)
        assert drawn.low <= value <= drawn.high


def test_ranges_over_orders_of_magnitude_are_logarithmic() -> None:
    rng = np.random.default_rng(0)
    rates = [Range("learning_rate", 0.0001, 0.01).draw(rng) for _ in range(400)]
    assert 0.4 < np.mean(np.array(rates) < 0.001) < 0.6
    weights = [Range("distillation", 0.0, 0.9).draw(rng) for _ in range(400)]
    assert 0.4 < np.mean(np.array(weights) < 0.45) < 0.6
    assert Range("fixed", 0.3, 0.3).perturb(0.3, rng) == 0.3
