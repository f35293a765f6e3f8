"""What genes mean: widths, the nearest genome within budget, what is inherited, and the hash."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import CRITERIA, SEEDS, SPACES, layouts, share_of, space_with

from spaces.budget import Budget
from spaces.genome import Genome
from spaces.layout import Cost
from spaces.space import Space

ROUNDINGS = st.sampled_from([1, 2, 3, 4, 5, 8, 64])


@given(ROUNDINGS)
def test_whole_genomes_are_the_uncompressed_network(round_to: int) -> None:
    for growth, layout in layouts().items():
        space = space_with(round_to=round_to)
        genome = space.uniform(1.0, growth=growth)
        assert np.array_equal(space.widths(genome), layout.full())
        assert space.layout(genome) is layout


@given(ROUNDINGS, SEEDS)
def test_widths_are_the_nearest_allowed_to_the_ratio(round_to: int, seed: int) -> None:
    space = space_with(round_to=round_to)
    genome = space.sample(np.random.default_rng(seed))
    ratios = dict(zip(space.groups, genome.keep, strict=True))
    for group, width in zip(space.layout(genome).groups, space.widths(genome), strict=True):
        allowed = {*range(round_to, group.size, round_to), group.size}
        wanted = ratios[group.name] * genome.width * group.size
        assert width in allowed
        assert abs(width - wanted) <= min(abs(a - wanted) for a in allowed) + 1e-9


@given(ROUNDINGS, SEEDS)
def test_wider_genes_never_make_narrower_groups(round_to: int, seed: int) -> None:
    space = space_with(round_to=round_to)
    rng = np.random.default_rng(seed)
    genome = space.sample(rng)
    keep = tuple(k + rng.random() * (1 - k) for k in genome.keep)
    wider = replace(genome, keep=keep, width=genome.width + rng.random() * (1 - genome.width))
    assert (space.widths(wider) >= space.widths(genome)).all()


@given(SPACES, SEEDS)
@settings(max_examples=30)
def test_repair_leaves_what_fits_and_narrows_what_does_not(space: Space, seed: int) -> None:
    free = replace(space, budget=Budget())
    genome = free.sample(np.random.default_rng(seed))
    if space.budget.met(space.cost(genome)):
        assert space.repair(genome) == genome
    elif space.budget.met(space.cost(space.least())):
        repaired = space.repair(genome)
        assert repaired.blend == genome.blend
        if repaired.growth == genome.growth:
            assert (space.widths(repaired) <= space.widths(genome)).all()
        else:
            assert repaired.growth == (0, 0)


@given(st.sampled_from(["params", "macs", "bytes"]), st.floats(0.3, 0.9), SEEDS)
@settings(max_examples=30)
def test_repair_spends_the_budget(measure: str, share: float, seed: int) -> None:
    space = space_with(share_of(share, measure))
    repaired = space.repair(space.uniform(1.0))
    assert repaired.keep == space.uniform(1.0).keep
    wider = replace(repaired, width=repaired.width + 0.0002)
    assert not space.budget.met(space.cost(wider))


def test_mutation_changes_a_copy() -> None:
    for keep in (1.0, 0.5, 0.05):
        for mutation in (0.02, 0.5):
            space = space_with(mutation=mutation)
            parent = space.uniform(keep)
            before = parent.text
            for seed in range(100):
                assert space.mutate(parent, np.random.default_rng(seed)) != parent
            assert parent.text == before


def test_mutation_reaches_every_kind_of_gene() -> None:
    space = space_with(mutation=0.3)
    parent = space.uniform(0.5)
    children = [space.mutate(parent, np.random.default_rng(seed)) for seed in range(60)]
    for gene in ("growth", "width", "keep", "blend"):
        assert len({getattr(child, gene) for child in children}) > 5 or gene == "growth"
    assert {child.growth for child in children} == {(0, 0), (0, 1), (1, 0)}


@given(SEEDS)
@settings(max_examples=40)
def test_every_gene_of_a_child_is_a_parents(seed: int) -> None:
    space = space_with(by="group")
    rng = np.random.default_rng(seed)
    mother, father = space.sample(rng), space.sample(rng)
    child = space.crossover(mother, father, rng)
    assert child.growth in (mother.growth, father.growth)
    assert child.width in (mother.width, father.width)
    assert all(c in pair for c, *pair in zip(child.keep, mother.keep, father.keep, strict=True))
    assert all(c in pair for c, *pair in zip(child.blend, mother.blend, father.blend, strict=True))
    assert 0 < sum(c == m for c, m in zip(child.keep, mother.keep, strict=True)) < len(child.keep)


def test_samples_cover_the_space() -> None:
    space = space_with()
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(300)]
    assert {g.growth for g in drawn} == set(space.layouts)
    widths = np.log([g.width for g in drawn]) / np.log(space.min_width)
    assert np.histogram(widths, 4, (0, 1))[0].min() > 40  # even over orders of magnitude
    assert np.array([g.keep for g in drawn]).mean() == pytest.approx((space.min_keep + 1) / 2, abs=0.02)
    assert np.array([g.blend for g in drawn]).mean() == pytest.approx(1 / len(CRITERIA), abs=0.02)


def test_blends_without_weight_are_even() -> None:
    space = space_with(by="network")
    genome = Genome((0, 0), 1.0, (1.0,) * len(space.groups), ((0.0, -1.0, 0.0),))
    assert space.normalise(genome).blend == ((0.3334, 0.3333, 0.3333),)


def test_the_hash_is_of_everything_that_gives_genes_their_meaning() -> None:
    space = space_with()
    grown = layouts()
    base = grown[0, 0]
    wider = replace(base.groups[0], name="other")
    bigger = replace(base.layers[0], positions=base.layers[0].positions + 1)
    changed = [
        replace(space, criteria=CRITERIA[::-1]),
        replace(space, clusters=dict.fromkeys(space.clusters, 0)),
        replace(space, budget=Budget(params=10**6)),
        replace(space, budget=Budget(macs=10**6)),
        replace(space, min_keep=0.06),
        replace(space, min_width=0.11),
        replace(space, round_to=2),
        replace(space, mutation=0.11),
        replace(space, layouts={g: grown[g] for g in ((0, 0), (0, 1))}),
        replace(space, layouts={**grown, (0, 0): replace(base, groups=base.groups[1:])}),
        replace(space, layouts={**grown, (0, 0): replace(base, groups=(wider, *base.groups[1:]))}),
        replace(space, layouts={**grown, (0, 0): replace(base, layers=(bigger, *base.layers[1:]))}),
        replace(space, layouts={**grown, (0, 0): replace(base, other_params=1)}),
    ]
    hashes = [s.hash for s in changed]
    assert len({space.hash, *hashes}) == len(changed) + 1
    assert space_with().hash == space.hash
    assert replace(space, layouts=dict(reversed(grown.items()))).hash == space.hash


def test_violation_is_the_largest_relative_excess() -> None:
    budget = Budget(params=100, macs=1000)
    assert budget.limits() == {"params": 100, "macs": 1000}
    assert budget.violation(Cost(100, 1000, 10**9)) == 0
    assert budget.violation(Cost(150, 1100, 0)) == pytest.approx(0.5)
    assert budget.violation(Cost(50, 1100, 0)) == pytest.approx(0.1)
    assert budget.met(Cost(100, 1000, 0))
    assert not budget.met(Cost(101, 1000, 0))
    assert Budget().violation(Cost(1, 1, 1)) == 0
