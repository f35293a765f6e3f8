"""Recipes end where they should: within the budget, and grown networks where their parents stood."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from spaces.dealing import deal
from spaces.groups import example_input
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.quantity import MEASURES, Measure, make_quantity
from spaces.shedding import OutOfReach
from workers.batches import Tensors
from workers.recipes import grow_greedily, push_and_prune
from workers.recipes.push_prune import utilities
from workers.train import TrainSettings

SHAPE, CLASSES = (1, 6, 6), 3
TRAINING = TrainSettings(epochs=4, batch_size=16, push=0.1)


def make_data(count: int = 48, seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, CLASSES, count))
    noise = torch.from_numpy(rng.integers(0, 120, (count, *SHAPE)))
    images = (noise + 60 * labels[:, None, None, None]).to(torch.uint8)
    middle = torch.full((1, 1, 1, 1), 128.0)
    return Tensors(images, labels, middle, middle / 2, torch.contiguous_format)


def make_network() -> nn.Module:
    arguments = {"stem": 8, "widths": [16, 24], "modules": [1, 1]}
    return build_network(NetworkSpec("inception", SHAPE, CLASSES, arguments), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("rounds", [1, 2])
def test_push_and_prune_ends_within_its_budget(measure: Measure, rounds: int) -> None:
    network = make_network()
    layout = make_layout(network, example_input(SHAPE))
    budget = make_quantity(layout, measure).count(layout.full()) // 3
    small = push_and_prune(network, make_data(), budget, measure, TRAINING, rounds, 0).network
    after = make_layout(small, example_input(SHAPE))
    amount = make_quantity(after, measure).count(after.full())
    assert 0.5 * budget < amount <= budget
    assert torch.isfinite(small(make_data().normalise(make_data().images))).all()


def test_push_and_prune_depends_on_its_seed_alone() -> None:
    ends = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(ends))
        ends.append(push_and_prune(make_network(), make_data(), 1000, "params", TRAINING, 2, seed).network.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert any(ends[0][n].shape != ends[2][n].shape or not torch.equal(ends[0][n], ends[2][n]) for n in ends[0])


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(OutOfReach, match="one channel in each of"):
        push_and_prune(make_network(), make_data(), 5, "params", TRAINING, 1, 0)


def test_utilities_are_in_units_of_their_groups_spread() -> None:
    network = make_network()
    layout = make_layout(network, example_input(SHAPE))
    parts = np.split(utilities(network, layout, make_data(), 0), np.cumsum(layout.sizes)[:-1])
    assert all(part.std() == pytest.approx(1) or (part == 1).all() for part in parts)
    assert any(part.std() > 0.5 for part in parts)


@pytest.mark.parametrize(("epochs", "parts"), [(10, 3), (2, 3), (9, 3), (7, 1)])
def test_epochs_are_dealt_out_evenly(epochs: int, parts: int) -> None:
    dealt = deal(epochs, parts)
    assert (sum(dealt), len(dealt)) == (epochs, parts)
    assert max(dealt) - min(dealt) <= 1


@pytest.mark.parametrize("pruned", [False, True])
def test_greedy_growth_begins_at_its_parent(pruned: bool) -> None:
    network, data = make_network(), make_data()
    if pruned:
        network = push_and_prune(network, data, 1000, "params", TRAINING, 1, 0).network
    before = copy.deepcopy(network.state_dict())
    # Trials of no epochs show the functions themselves; whatever they gain is enough.
    found = grow_greedily(network, data, data, TrainSettings(epochs=0), 2, -1.0, 0)
    assert sum(found.growth) == 2
    images = data.normalise(data.images)
    with torch.no_grad():
        expected = network(images)
        assert float((found.network(images) - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())


def test_growth_stops_where_it_brings_too_little() -> None:
    found = grow_greedily(make_network(), make_data(), make_data(20, 1), TrainSettings(epochs=1), 3, 2.0, 0)
    assert found.growth == (0, 0)
    assert found.epochs == 3


def test_a_network_that_cannot_grow_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    with pytest.raises(ValueError, match="Sequential cannot grow"):
        grow_greedily(network, make_data(), make_data(), TrainSettings(epochs=1), 1, 0.0, 0)
