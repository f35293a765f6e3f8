"""What every strategy must do, whatever it proposes; and what evolution must do better than chance."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_space import evaluate, probed, tiny_space

from search.front import Point, hypervolume, normalised
from search.strategies import STRATEGIES, Strategy, make_strategy
from search.strategies.evolution import Evolution
from search.strategies.unseen import Seen
from spaces.genome import Genome
from spaces.space import Space
from workers.evaluation import FAILED, OK, PROBE, REASONS, TRAIN, Evaluation, Outcome, Request

POPULATION, WINDOW = 8, 6

every_strategy = pytest.mark.parametrize("name", list(STRATEGIES))


def make(name: str, seed: int = 3, seeds: tuple[Genome, ...] = ()) -> Strategy:
    return make_strategy(name, tiny_space(), POPULATION, "params", seed, seeds)


def broken(number: int, genome: Genome) -> Evaluation:
    """A failure, a probe with a measurement missing, or one that is not a number, by turns."""
    request = Request(number, PROBE, genome, "strategy")
    kind = number % 3
    if kind == 0:
        return Evaluation(request, Outcome(number, FAILED, REASONS[number % len(REASONS)], "simulated"))
    metrics = {**evaluate(tiny_space(), genome), "accuracy": math.nan}
    if kind == 1:
        del metrics["accuracy"]
    return Evaluation(request, Outcome(number, OK, metrics=metrics))


def course(strategy: Strategy, count: int, failing: int = 5) -> list[Genome]:
    """Proposals of a run with a window: evaluation i is asked after commit i − WINDOW; every ``failing``-th fails."""
    space = tiny_space()
    proposed: list[Genome] = []
    for number in range(count):
        if number >= WINDOW:
            done = number - WINDOW
            told = broken if done % failing == failing - 1 else lambda n, g: probed(space, n, g)
            strategy.tell(told(done, proposed[done]))
        proposed.append(strategy.ask(number))
    return proposed


@every_strategy
def test_proposals_are_valid_and_within_budget(name: str) -> None:
    space = tiny_space()
    for genome in course(make(name), 40):
        assert space.budget.met(space.cost(genome))
        assert Genome.from_text(genome.text) == genome
        assert space.normalise(genome).growth == genome.growth
        assert len(genome.keep) == len(space.groups)
        assert space.widths(genome).min() >= 1


@every_strategy
def test_same_seed_and_history_give_the_same_proposals(name: str) -> None:
    first = course(make(name), 40)
    random.seed(99)
    np.random.seed(99)
    assert course(make(name), 40) == first
    assert course(make(name, seed=4), 40) != first


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, list[str]]:
    """Per strategy, the ids that another process proposes."""
    script = """
import json, test_strategies as t
print(json.dumps({name: [g.id for g in t.course(t.make(name), 40)] for name in t.STRATEGIES}))
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "123"}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    found: dict[str, list[str]] = json.loads(result.stdout)
    return found


@every_strategy
def test_another_process_proposes_the_same(name: str, elsewhere: dict[str, list[str]]) -> None:
    assert elsewhere[name] == [g.id for g in course(make(name), 40)]


@every_strategy
def test_global_random_state_is_left_alone(name: str) -> None:
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    course(make(name), 30)
    assert (random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()) == before


@every_strategy
def test_replaying_a_run_gives_the_same_next_proposal(name: str) -> None:
    whole = course(make(name), 40)
    assert course(make(name), 25) == whole[:25]


@every_strategy
def test_starting_individuals_come_first_and_unchanged(name: str) -> None:
    space = tiny_space()
    seeds = tuple(space.repair(space.uniform(keep)) for keep in (0.3, 0.5, 0.7))
    strategy = make(name, seeds=(*seeds, seeds[0]))
    assert tuple(course(strategy, 30)[:3]) == seeds


@every_strategy
def test_nothing_but_failures_is_survived(name: str) -> None:
    strategy = make(name)
    for number in range(30):
        strategy.tell(broken(number, strategy.ask(number)))


@every_strategy
def test_evaluations_of_others_are_taken(name: str) -> None:
    space, strategy = tiny_space(), make(name)
    rng = np.random.default_rng(0)
    for number in range(0, 60, 3):
        strategy.tell(probed(space, number, strategy.ask(number)))
        control = space.sample(rng)
        strategy.tell(probed(space, number + 1, control, "control:random"))
        training = Request(number + 2, TRAIN, control, "control:random")
        strategy.tell(Evaluation(training, Outcome(number + 2, OK, metrics={"accuracy": 1.0, "params": 1})))


@every_strategy
def test_no_warnings(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space = tiny_space()
        course(make(name, seeds=(space.least(), space.repair(space.uniform(1.0)))), 40)


@pytest.mark.parametrize("name", ["evolution", "random"])
def test_no_genome_is_proposed_twice(name: str) -> None:
    ids = [genome.id for genome in course(make(name), 150)]
    assert len(set(ids)) == len(ids)


def test_a_random_proposal_depends_on_seed_and_number_only() -> None:
    assert make("random").ask(17) == course(make("random"), 18)[17]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no 'genetic'; choose one of evolution, random"):
        make("genetic")


def test_an_exhausted_space_repeats_itself() -> None:
    genome = tiny_space().least()
    seen = Seen()
    assert seen.first_new(lambda _: genome) == genome
    tries: list[int] = []

    def noted(attempt: int) -> Genome:
        tries.append(attempt)
        return genome

    assert seen.first_new(noted, lambda _: genome) == genome
    assert tries == list(range(50))


def test_population_holds_measured_survivors_only() -> None:
    space, strategy = tiny_space(), Evolution(tiny_space(), 0, POPULATION, "params")
    told = []
    for number in range(60):
        genome = strategy.ask(number)
        if number % 4 == 3:
            strategy.tell(broken(number, genome))
            assert genome not in strategy.survivors
            continue
        strategy.tell(probed(space, number, genome))
        told.append(genome)
        assert len(strategy.survivors) == min(POPULATION, len(told))
        assert set(strategy.survivors) <= set(told)


def test_a_genome_told_again_is_one_survivor() -> None:
    space, strategy = tiny_space(), Evolution(tiny_space(), 0, POPULATION, "params")
    genome = strategy.ask(0)
    strategy.tell(probed(space, 0, genome))
    strategy.tell(probed(space, 1, genome, "control:uniform"))
    assert strategy.survivors == (genome,)


def test_the_error_measure_is_an_argument() -> None:
    space = tiny_space()
    params = make_strategy("evolution", space, 4, "macs", 0, error_of=lambda e: e.metrics["params"])
    for number in range(60):
        params.tell(probed(space, number, params.ask(number)))
    assert isinstance(params, Evolution)
    accuracy = Evolution(space, 0, 4, "macs")
    for number in range(60):
        accuracy.tell(probed(space, number, accuracy.ask(number)))

    def smallest(strategy: Evolution) -> float:
        return float(np.median([space.cost(g).params for g in strategy.survivors]))

    assert smallest(params) < smallest(accuracy)


def reached(space: Space, name: str, seed: int, count: int) -> float:
    """Hypervolume of all that a strategy finds in ``count`` evaluations, told at once."""
    base = space.layouts[0,].cost(space.layouts[0,].full()).params
    strategy = make_strategy(name, space, 16, "params", seed)
    points = []
    for number in range(count):
        evaluation = probed(space, number, strategy.ask(number))
        strategy.tell(evaluation)
        metrics = evaluation.metrics
        points.append(Point(0.0, normalised(1.0 - metrics["accuracy"], metrics["params"], base)))
    return hypervolume(points)


def test_evolution_beats_random_search() -> None:
    space = tiny_space()
    gains = [reached(space, "evolution", s, 300) - reached(space, "random", s, 300) for s in range(9)]
    assert float(np.median(gains)) > 0.02, gains
    assert sum(gain > 0 for gain in gains) >= 7, gains
