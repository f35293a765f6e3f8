"""The plain alternatives are what they say, and of the size asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_space import evaluate, tiny_space

from search.controls import plain_weights, sensitivity_control, sensitivity_ladder, uniform_control
from spaces.budget import Budget
from spaces.space import Space

FREE = replace(tiny_space(), budget=Budget())


def share(part: float) -> Budget:
    layout = FREE.layouts[0,]
    return Budget(params=int(part * layout.cost(layout.full()).params))


def measured(space: Space, levels: int) -> dict[tuple[str, float], float]:
    return {
        (name, ratio): evaluate(space, genome)["accuracy"] for name, ratio, genome in sensitivity_ladder(space, levels)
    }


@pytest.mark.parametrize("part", [0.15, 0.25, 0.5, 1.0])
def test_the_uniform_control_is_uniform_and_as_wide_as_the_budget_allows(part: float) -> None:
    genome = uniform_control(FREE, share(part))
    assert len(set(genome.keep)) == 1
    assert genome.growth == (0,)
    assert set(genome.blend) == {(1.0, 0.0, 0.0)}, "channels by L1"
    assert share(part).met(FREE.cost(genome))
    if part < 1:
        wider = replace(genome, width=genome.width + 0.02)
        assert not share(part).met(FREE.cost(wider))


def test_the_plain_criterion_is_l1_or_the_first() -> None:
    assert plain_weights(FREE) == (1.0, 0.0, 0.0)
    assert plain_weights(replace(FREE, criteria=("taylor", "fpgm"))) == (1.0, 0.0)


def test_the_ladder_narrows_one_group_at_a_time() -> None:
    ladder = sensitivity_ladder(FREE, 3)
    names = FREE.layouts[0,].names
    assert [(name, ratio) for name, ratio, _ in ladder] == [(n, 0.5**k) for n in names for k in (1, 2, 3)]
    for name, ratio, genome in ladder:
        keep = dict(zip(FREE.groups, genome.keep, strict=True))
        assert keep.pop(name) == ratio
        assert set(keep.values()) == {1.0}
        assert genome.width == 1.0


def test_the_ladder_stops_at_the_spaces_least_ratio() -> None:
    assert min(ratio for _, ratio, _ in sensitivity_ladder(replace(FREE, min_keep=0.3), 3)) == 0.3


@pytest.mark.parametrize("part", [0.15, 0.25, 0.5, 0.9])
def test_the_sensitivity_control_meets_the_budget(part: float) -> None:
    genome = sensitivity_control(FREE, share(part), measured(FREE, 4), 1.0)
    assert share(part).met(FREE.cost(genome))
    assert genome.growth == (0,)


def test_insensitive_groups_are_narrowed_first() -> None:
    """On a problem of known importances it keeps the important groups wide, and beats the uniform control."""
    budget = share(0.4)
    sensitive = sensitivity_control(FREE, budget, measured(FREE, 4), 1.0)
    uniform = uniform_control(FREE, budget)
    assert evaluate(FREE, sensitive)["accuracy"] > evaluate(FREE, uniform)["accuracy"]
    importance = np.exp(np.random.default_rng(7).normal(0.0, 1.5, len(FREE.layouts[0,].names)))
    keep = dict(zip(FREE.groups, sensitive.keep, strict=True))
    ordered = [keep[name] for _, name in sorted(zip(importance, FREE.layouts[0,].names, strict=True))]
    assert np.mean(ordered[:4]) < np.mean(ordered[-4:])


def test_nothing_measured_still_gives_a_control() -> None:
    genome = sensitivity_control(FREE, share(0.3), {}, 0.9)
    assert share(0.3).met(FREE.cost(genome))
    assert len(set(genome.keep)) == 1


def test_a_narrower_group_is_never_counted_as_better() -> None:
    """A lucky narrow measurement does not hide a loss at a wider one."""
    name = FREE.layouts[0,].names[0]
    others = {(n, 0.5): 0.0 for n in FREE.layouts[0,].names[1:]}
    genome = sensitivity_control(FREE, share(0.999), {(name, 0.5): 0.4, (name, 0.25): 0.9, **others}, 0.9)
    assert dict(zip(FREE.groups, genome.keep, strict=True))[name] > 0.5


def test_the_sensitivity_control_uses_its_budget() -> None:
    """A control that stops short of the size it is compared at would be a straw man."""
    cost = FREE.cost(sensitivity_control(FREE, share(0.4), measured(FREE, 4), 1.0))
    assert cost.params > 0.95 * share(0.4).limits()["params"]
