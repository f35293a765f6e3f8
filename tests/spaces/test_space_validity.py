"""Whatever an operator of the space returns is a genome of the space, within bounds and within budget."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_spaces import SEEDS, SPACES, space_with

from spaces.genome import Genome
from spaces.space import InfeasibleBudget, Space

Operator = Callable[[Space, np.random.Generator], Genome]


def wild(space: Space, rng: np.random.Generator) -> Genome:
    """Genes far out of bounds, some rows of a blend all zero or negative."""
    growth = tuple(int(g) for g in rng.integers(-2, 5, len(space.max_growth)))
    keep = rng.normal(0.5, 1.0, len(space.groups))
    blend = rng.normal(0.0, 1.0, (space.blends, len(space.criteria))) * rng.integers(0, 2, (space.blends, 1))
    return Genome(growth, float(rng.normal(0.5, 1.0)), tuple(keep), tuple(map(tuple, blend)))


def wild_vector(space: Space, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0.5, 1.0, len(space.dimensions()))


OPERATORS: dict[str, Operator] = {
    "sample": lambda space, rng: space.sample(rng),
    "mutate": lambda space, rng: space.mutate(space.sample(rng), rng),
    "crossover": lambda space, rng: space.crossover(space.sample(rng), space.sample(rng), rng),
    "repair": lambda space, rng: space.repair(wild(space, rng)),
    "from_vector": lambda space, rng: space.from_vector(wild_vector(space, rng)),
}


def applied(operator: Operator, space: Space, seed: int) -> Genome:
    """What the operator returns; examples without any feasible genome are dropped."""
    assume(space.budget.met(space.cost(space.least())))
    return operator(space, np.random.default_rng(seed))


def assert_valid(space: Space, genome: Genome) -> None:
    assert genome.growth in space.layouts
    assert space.min_width - 1e-4 <= genome.width <= 1
    assert len(genome.keep) == len(space.groups)
    assert all(space.min_keep - 1e-4 <= k <= 1 for k in genome.keep)
    assert len(genome.blend) == space.blends
    for row in genome.blend:
        assert len(row) == len(space.criteria)
        assert min(row) >= 0
        assert sum(row) == pytest.approx(1, abs=1e-12)
    widths, sizes = space.widths(genome), space.layout(genome).sizes
    assert (widths >= np.minimum(space.round_to, sizes)).all()
    assert (widths <= sizes).all()
    assert ((widths % space.round_to == 0) | (widths == sizes)).all()
    assert space.budget.met(space.cost(genome))
    assert space.cost(genome) == space.layouts[genome.growth].cost(widths)


@pytest.mark.parametrize("name", OPERATORS)
@given(SPACES, SEEDS)
@settings(max_examples=40)
def test_every_operator_returns_a_valid_genome(name: str, space: Space, seed: int) -> None:
    assert_valid(space, applied(OPERATORS[name], space, seed))


@pytest.mark.parametrize("name", OPERATORS)
@given(SPACES, SEEDS)
@settings(max_examples=15)
def test_results_depend_on_the_generator_alone(name: str, space: Space, seed: int) -> None:
    first = applied(OPERATORS[name], space, seed)
    random.seed(seed)
    np.random.seed(seed % 100)
    torch.manual_seed(seed)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert applied(OPERATORS[name], replace(space), seed).text == first.text
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("name", ["sample", "mutate", "crossover"])
def test_other_generators_give_other_genomes(name: str) -> None:
    space = space_with()
    assert len({OPERATORS[name](space, np.random.default_rng(seed)).text for seed in range(20)}) == 20


@given(SPACES, SEEDS)
@settings(max_examples=60)
def test_normalise_repair_and_vectors_settle_at_once(space: Space, seed: int) -> None:
    genome = applied(OPERATORS["repair"], space, seed)
    normal = space.normalise(wild(space, np.random.default_rng(seed)))
    assert space.normalise(normal) == normal
    assert space.normalise(genome) == genome
    assert space.repair(genome) == genome
    vector = space.to_vector(genome)
    assert space.from_vector(vector) == genome
    assert np.array_equal(space.to_vector(space.from_vector(vector)), vector)


@given(SPACES, SEEDS)
@settings(max_examples=30)
def test_dimensions_name_each_gene_and_bound_it(space: Space, seed: int) -> None:
    dimensions = space.dimensions()
    assert len({d.name for d in dimensions}) == len(dimensions)
    vector = space.to_vector(applied(OPERATORS["sample"], space, seed))
    assert len(vector) == len(dimensions)
    for dimension, value in zip(dimensions, vector, strict=True):
        assert dimension.low - 1e-4 <= value <= dimension.high
    drawn = np.random.default_rng(seed).uniform([d.low for d in dimensions], [d.high for d in dimensions])
    assert_valid(space, space.from_vector(drawn))
    for place, dimension in enumerate(dimensions):
        if dimension.name == f"keep.{space.groups[3]}":
            assert vector[place] == space.from_vector(vector).keep[3]


@given(SPACES, SEEDS)
@settings(max_examples=40)
def test_a_budget_is_refused_only_where_nothing_meets_it(space: Space, seed: int) -> None:
    least = space.cost(space.least())
    genome = wild(space, np.random.default_rng(seed))
    if space.budget.met(least):
        assert_valid(space, space.repair(genome))
        return
    with pytest.raises(InfeasibleBudget) as caught:
        space.repair(genome)
    (name,) = space.budget.limits()
    nearest = getattr(least, name)
    assert f"{name} ≤ {space.budget.limits()[name]:,} was asked, the least possible is {nearest:,}" in str(caught.value)
    mended = replace(space, budget=replace(space.budget, **{name: nearest}))
    assert_valid(mended, mended.repair(genome))


@given(st.integers(0, 3), SEEDS)
@settings(max_examples=20)
def test_nothing_is_smaller_than_the_least(which: int, seed: int) -> None:
    space = space_with(round_to=(1, 2, 4, 8)[which])
    least, other = space.cost(space.least()), space.cost(space.sample(np.random.default_rng(seed)))
    assert least.params <= other.params
    assert least.macs <= other.macs
    assert least.bytes <= other.bytes
