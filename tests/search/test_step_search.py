"""The structural search narrows what can be spared, keeps its bound, and its answer meets the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tiny_space import evaluate, tiny_space

from search.step_search import LAST_BOUND, step_search, to_budget
from spaces.budget import Budget
from spaces.genome import Genome
from spaces.space import Space

FREE = replace(tiny_space(), budget=Budget())
NAMES = FREE.ungrown.names


def followed(accuracy: Callable[[Genome], float], bisections: int, space: Space = FREE) -> tuple[list[Genome], Genome]:
    """The genomes asked for and the answer."""
    search = step_search(space, 1.0, bisections)
    asked = [next(search)]
    try:
        while True:
            asked.append(search.send(accuracy(asked[-1])))
    except StopIteration as end:
        return asked, end.value


def test_where_everything_can_be_spared_all_goes_to_the_least() -> None:
    asked, _ = followed(lambda _: 1.0, 3)
    assert len(asked) == 3 * len(NAMES)
    ratios = dict(zip(FREE.groups, asked[-1].keep, strict=True))
    # Three bisections of [least, 1]: an eighth of it is left.
    assert all(ratios[name] == pytest.approx(FREE.min_keep + (1 - FREE.min_keep) / 8, abs=1e-3) for name in NAMES)


def test_where_nothing_can_be_spared_nothing_goes() -> None:
    assert followed(lambda _: 0.0, 3)[1] == FREE.uniform(1.0, (1.0, 0.0, 0.0))


def test_what_was_narrowed_stays_above_the_bound_of_its_group() -> None:
    """On a problem of known importances: every narrowing that was accepted, and hence the last state, is within it."""
    asked, _ = followed(lambda g: evaluate(FREE, g)["accuracy"], 4)
    for i in range(1, len(NAMES)):
        settled = asked[4 * i].keep  # the first question of group i changes that group only
        place = FREE.groups.index(NAMES[i])
        before = replace(asked[4 * i], keep=(*settled[:place], 1.0, *settled[place + 1 :]))
        assert evaluate(FREE, before)["accuracy"] >= 1 - (1 - LAST_BOUND) * i / len(NAMES)


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 1.0])
def test_the_answer_uses_its_budget(part: float) -> None:
    layout = FREE.ungrown
    limit = int(part * layout.cost(layout.full()).params)
    space = replace(FREE, budget=Budget(params=limit))
    rng = np.random.default_rng(0)
    genome = FREE.normalise(replace(FREE.uniform(1.0), keep=tuple(rng.uniform(0.2, 1.0, len(FREE.groups)))))
    scaled = to_budget(space, genome)
    assert 0.9 * limit < space.cost(scaled).params <= limit
    order = np.argsort(genome.keep)
    assert (np.diff(np.asarray(scaled.keep)[order]) >= 0).all(), "what was wider than another is not narrower now"


@pytest.mark.parametrize("budget", [Budget(), Budget(params=FREE.ungrown.cost(FREE.ungrown.full()).params)])
def test_room_for_the_whole_network_does_not_undo_what_was_found(budget: Budget) -> None:
    _, found = followed(lambda genome: 1.0, 2, replace(FREE, budget=budget))
    assert max(found.keep[FREE.groups.index(name)] for name in NAMES) < 0.5
