"""Budget-aware regularisation: formulas against closed forms, gates against surgery, the end against the budget."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import workers.training.progress
from spaces.groups import example_input
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.quantity import MEASURES, Measure, Quantity, make_quantity
from spaces.shedding import OutOfReach, shed, widest
from spaces.surgery import compact, masked
from workers.bar import Barred, BarSettings, bar
from workers.bar.barrier import CAP, barrier, bounds
from workers.bar.gates import GatedObjective, core_widths
from workers.bar.hard_concrete import ALIVE, chance, sample, settled
from workers.bar.prune import fold
from workers.batches import Tensors
from workers.losses import Step
from workers.train import TrainSettings

SHAPE, CLASSES = (1, 6, 6), 3
TRAINING = TrainSettings(epochs=2, batch_size=16, shift=1, distillation=0.9)


class Residual(nn.Module):
    """Groups of a residual sum, of a branch, and behind a flatten."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.inner, self.outer = nn.Conv2d(width, 5, 3, padding=1), nn.Conv2d(5, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.hidden, self.head = nn.Linear(9 * width, 7), nn.Linear(7, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(self.stem(x)))
        x = F.relu(x + self.norm(self.outer(F.relu(self.inner(x)))))
        return self.head(F.relu(self.hidden(F.max_pool2d(x, 2).flatten(1))))


def make_data(count: int = 48) -> Tensors:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, CLASSES, count))
    noise = torch.from_numpy(rng.integers(0, 120, (count, *SHAPE)))
    images = (noise + 60 * labels[:, None, None, None]).to(torch.uint8)
    middle = torch.full((1, 1, 1, 1), 128.0)
    return Tensors(images, labels, middle, middle / 2, torch.contiguous_format)


def make_network(kind: str, seed: int = 0) -> nn.Module:
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "residual":
            return Residual(int(rng.integers(4, 12))).eval()
    widths = {"stem": int(rng.integers(4, 10)), "widths": [int(w) for w in rng.integers(8, 20, 2)], "modules": [1, 1]}
    return build_network(NetworkSpec("inception", SHAPE, CLASSES, widths), torch.Generator().manual_seed(seed))


@lru_cache
def layout_of(kind: str, seed: int = 0) -> Layout:
    return make_layout(make_network(kind, seed), example_input(SHAPE))


# The formulas


@pytest.mark.parametrize(("location", "expected"), [(-2.0, 0.4010), (0.0, 0.8318), (2.0, 0.9734)])
def test_chance_of_an_open_gate_is_that_of_its_draws(location: float, expected: float) -> None:
    uniform = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    locations = torch.full_like(uniform, location)
    assert float((sample(locations, uniform) > 0).double().mean()) == pytest.approx(expected, abs=1.5e-3)
    assert float(chance(locations[:1])) == pytest.approx(expected, abs=5e-5)


def test_a_gate_is_alive_where_its_settled_value_is_more_than_zero() -> None:
    assert pytest.approx(-2.398, abs=5e-4) == ALIVE
    around = torch.tensor([ALIVE - 1e-6, ALIVE + 1e-6], dtype=torch.float64)
    assert (settled(around) > 0).tolist() == [False, True]


def test_gradient_of_a_drawn_gate() -> None:
    uniform = torch.linspace(0.4, 0.6, 7, dtype=torch.float64)
    locations = torch.linspace(-0.6, 0.6, 7, dtype=torch.float64).requires_grad_()
    drawn = sample(locations, uniform)
    assert bool(((drawn > 0) & (drawn < 1)).all()), "a clamped gate has no gradient to check"
    assert torch.autograd.gradcheck(lambda x: sample(x, uniform), (locations,))


@pytest.mark.parametrize(("share", "expected"), [(1 / 2, 49.0), (1 / 4, 74.0), (1 / 8, 86.5), (1 / 16, 92.8)])
def test_the_push_at_the_start(share: float, expected: float) -> None:
    low, high = bounds(1e6, share * 1e6, 0.0)
    assert high == pytest.approx(1.01e6)
    assert barrier(1e6, low, high) == pytest.approx(expected, abs=0.06)


def test_the_schedule_ends_at_the_budget() -> None:
    uppers = [bounds(1000, 250, t)[1] for t in np.linspace(0, 1, 101)]
    assert uppers[-1] == pytest.approx(250)
    assert np.all(np.diff(uppers) < 0)
    done = [(1010 - uppers[round(100 * t)]) / (1010 - 250) for t in (0.1, 0.25, 0.5, 0.75)]
    assert done == pytest.approx([0.011, 0.070, 0.5, 0.930], abs=6e-4)


def test_the_barrier_rises_ever_faster_from_nothing_to_its_cap() -> None:
    amounts = np.linspace(100, 399, 500)
    pushes = np.array([barrier(v, 100, 400) for v in amounts])
    uncapped = pushes[pushes < CAP]
    assert pushes[0] == 0
    assert barrier(50, 100, 400) == 0
    assert np.all(np.diff(uncapped) > 0)
    assert np.all(np.diff(uncapped, 2) > 0)
    assert barrier(400, 100, 400) == barrier(5000, 100, 400) == CAP
    ratio = (250 - 100) / 300
    assert barrier(250, 100, 400) == pytest.approx(ratio**2 / (1 - ratio))


def objective_of(measure: Measure, kind: str = "residual", share: float = 0.3) -> GatedObjective:
    layout = layout_of(kind)
    quantity = make_quantity(layout, measure)
    first = 0.5 * torch.randn(int(layout.sizes.sum()), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    budget = int(share * quantity.count(layout.full()))
    return GatedObjective(TRAINING, layout, budget, BarSettings(measure, core=0.0), first)


@pytest.mark.parametrize("measure", MEASURES)
def test_gradient_of_the_penalty(measure: Measure) -> None:
    objective = objective_of(measure)
    locations = objective.locations.detach().requires_grad_()

    def penalty(raw: torch.Tensor) -> torch.Tensor:
        del objective._parameters["raw"]
        objective._parameters["raw"] = raw  # type: ignore[assignment]
        return objective.penalty(0.1)

    assert float(objective.penalty(0.1).detach()) > 0
    assert torch.autograd.gradcheck(penalty, ((locations / BarSettings.speed).detach().requires_grad_(),))


def test_gradient_of_the_penalty_in_closed_form() -> None:
    # Of activation volume: strength · barrier · A · σ'(φ + 1.599) / whole.
    objective, layout = objective_of("volume"), layout_of("residual")
    quantity = make_quantity(layout, "volume")
    whole, amount = quantity.count(layout.full()), objective.amount()
    push = barrier(amount, *bounds(whole, int(0.3 * whole), 0.2))
    objective.penalty(0.2).backward()
    areas = np.repeat(
        [quantity.count(w) - quantity.constant for w in np.eye(len(layout.groups), dtype=int)], layout.sizes
    )
    open_ = torch.sigmoid(objective.locations.detach() + 1.5986)
    expected = 0.03 * push * torch.from_numpy(areas) * open_ * (1 - open_) / whole
    assert push > 0
    assert objective.raw.grad is not None
    assert torch.allclose(objective.raw.grad / BarSettings.speed, expected, rtol=1e-4)


def test_a_groups_likeliest_channels_are_not_pushed() -> None:
    layout = layout_of("residual")
    quantity = make_quantity(layout, "volume")
    budget = int(0.3 * quantity.count(layout.full()))
    first = torch.randn(int(layout.sizes.sum()), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = GatedObjective(TRAINING, layout, budget, BarSettings("volume", core=0.5), first)
    core = np.ceil(0.5 * widest(layout, quantity, budget))
    objective.penalty(0.2).backward()
    assert objective.raw.grad is not None
    sizes = layout.sizes.tolist()
    for own, pushed, count in zip(first.split(sizes), objective.raw.grad.split(sizes), core.tolist(), strict=True):
        order = own.argsort(descending=True)
        assert not pushed[order[: int(count)]].any()
        assert bool((pushed[order[int(count) :]] > 0).all())


def test_the_whole_loss() -> None:
    objective = objective_of("params")
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(2, 5, CLASSES, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    found = objective(Step(logits, labels, target, progress=0.2))
    soft = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(target / 4, 1), reduction="batchmean")
    expected = 0.1 * F.cross_entropy(logits, labels) + 0.9 * 16 * soft
    assert float(found.detach()) == pytest.approx(float(expected.detach()))
    slopes = [torch.autograd.grad(x, objective.raw)[0] for x in (found, objective.penalty(0.2))]
    assert slopes[1].abs().max() > 0
    assert torch.allclose(*slopes)


# The gates


@pytest.mark.parametrize("kind", ["residual", "inception"])
def test_gates_of_zero_and_one_are_surgery(kind: str) -> None:
    network, layout = make_network(kind).double(), layout_of(kind)
    rng = np.random.default_rng(0)
    kept = {g.name: np.sort(rng.choice(g.size, max(1, g.size // 2), replace=False)) for g in layout.groups}
    alive = torch.from_numpy(layout.alive(kept)[:-1])
    shut = torch.where(alive, 50.0, -50.0).double()
    objective = GatedObjective(TRAINING, layout, 10, BarSettings(), shut)
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = network(images)
    with torch.no_grad(), objective.watching(network):
        gated = network(images)
    expected = masked(network, layout, kept)(images)
    assert torch.allclose(gated, expected, atol=1e-12)
    assert not torch.allclose(gated, plain)
    assert torch.equal(network(images), plain), "the hooks go with the block"


def test_channels_of_a_residual_sum_share_their_gates() -> None:
    names = layout_of("residual").names
    assert len(names) == 3, names


@pytest.mark.parametrize("kind", ["residual", "inception"])
def test_folded_gates_multiply_what_is_read(kind: str) -> None:
    network, layout = make_network(kind).double(), layout_of(kind)
    locations = torch.randn(int(layout.sizes.sum()), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = GatedObjective(TRAINING, layout, 10, BarSettings(), locations)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch, objective.watching(network):
        patch.setattr("workers.bar.gates.sample", lambda x, _: settled(x))
        expected = network(images)
    fold(network, layout, settled(locations))
    assert torch.allclose(network(images), expected, atol=1e-12)


# The end


@given(st.data())
def test_whatever_the_gates_say_the_network_lands_within_the_budget(data: st.DataObject) -> None:
    layout = layout_of(data.draw(st.sampled_from(["residual", "inception"])), data.draw(st.integers(0, 3)))
    quantity = make_quantity(layout, data.draw(st.sampled_from(MEASURES)))  # type: ignore[arg-type]
    count = int(layout.sizes.sum())
    locations = np.array(data.draw(st.lists(st.integers(-5, 3), min_size=count, max_size=count)), dtype=float)
    least, whole = quantity.count(np.ones_like(layout.sizes)), quantity.count(layout.full())
    budget = data.draw(st.integers(least, whole))
    core = core_widths(layout, quantity, budget, data.draw(st.sampled_from([0.0, 0.5, 1.0])))
    kept = shed(layout, quantity, budget, locations, ALIVE, core)
    assert amount_of(layout, quantity, kept) <= budget
    parts = np.split(locations, np.cumsum(layout.sizes))[:-1]
    for group, own, least in zip(layout.groups, parts, core.clip(1), strict=True):
        stays = kept[group.name]
        assert len(stays) >= least
        assert own[stays].max() == own.max()
        assert len(stays) == least or bool((own[stays] > ALIVE).all())
        gone = np.setdiff1d(np.arange(group.size), stays)
        assert len(gone) == 0 or own[gone].max() <= own[stays].min(), "the least go first"
    alive = {
        g.name: own > ALIVE for g, own in zip(layout.groups, np.split(locations, np.cumsum(layout.sizes)), strict=False)
    }
    if all(a.sum() >= least for a, least in zip(alive.values(), core.clip(1), strict=True)):
        open_ = {name: np.flatnonzero(a) for name, a in alive.items()}
        if amount_of(layout, quantity, open_) <= budget:
            assert all(np.array_equal(kept[name], open_[name]) for name in kept), "nothing to repair"


def amount_of(layout: Layout, quantity: Quantity, kept: dict[str, np.ndarray]) -> int:
    return quantity.count(np.array([len(kept[name]) for name in layout.names]))


def test_a_budget_out_of_reach_is_refused_at_once() -> None:
    layout = layout_of("residual")
    with pytest.raises(OutOfReach, match=r"budget: 3 is less than .* the least that this network can be pruned to"):
        bar(make_network("residual"), layout, make_data(), 3, TRAINING, BarSettings("params"), 0)


def run(kind: str, measure: Measure, share: float, seed: int, **more: object) -> tuple[Barred, int]:
    layout = layout_of(kind, seed)
    quantity = make_quantity(layout, measure)
    least, whole = quantity.count(np.ones_like(layout.sizes)), quantity.count(layout.full())
    budget = least + int(share * (whole - least))
    found = bar(make_network(kind, seed), layout, make_data(), budget, TRAINING, BarSettings(measure), seed, **more)  # type: ignore[arg-type]
    return found, budget


@settings(max_examples=12)
@given(
    st.sampled_from(["residual", "inception"]),
    st.sampled_from(MEASURES),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_every_training_ends_within_its_budget_and_slices_to_the_same_network(
    kind: str, measure: Measure, share: float, seed: int
) -> None:
    found, budget = run(kind, measure, share, seed)
    layout = layout_of(kind, seed)
    assert found.amount <= budget
    small = compact(found.network, layout, found.kept)
    cost = layout.cost(np.array([len(found.kept[name]) for name in layout.names]))
    assert sum(p.numel() for p in small.parameters()) == cost.params
    images = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = found.network(images)
        assert float((small(images) - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_the_network_stays_as_it_was_and_the_seed_alone_decides() -> None:
    network, layout = make_network("residual"), layout_of("residual")
    before = copy.deepcopy(network.state_dict())
    budget = make_quantity(layout, "macs").count(layout.full()) // 3
    torch.manual_seed(1)
    first = bar(network, layout, make_data(), budget, TRAINING, BarSettings("macs"), 5)
    torch.manual_seed(2)
    again = bar(network, layout, make_data(), budget, TRAINING, BarSettings("macs"), 5)
    other = bar(network, layout, make_data(), budget, TRAINING, BarSettings("macs"), 6)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert np.array_equal(first.locations, again.locations)
    assert not np.array_equal(first.locations, other.locations)
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), again.network.parameters(), strict=True))


class CutOff(Exception):
    pass


def test_a_training_cut_off_ends_as_the_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.training.progress, "CHECKPOINT_SECONDS", 0.0)

    def cut(_: int) -> None:
        raise CutOff

    undisturbed, _ = run("residual", "volume", 0.3, 1)
    checkpoint = tmp_path / "bar.checkpoint"
    with pytest.raises(CutOff):
        run("residual", "volume", 0.3, 1, checkpoint=checkpoint, after_epoch=cut)
    elsewhere, _ = run("residual", "volume", 0.5, 1, checkpoint=checkpoint)
    other, _ = run("residual", "volume", 0.5, 1)
    assert np.array_equal(elsewhere.locations, other.locations), "of another budget: it is not gone on from"
    with pytest.raises(CutOff):
        run("residual", "volume", 0.3, 1, checkpoint=checkpoint, after_epoch=cut)
    resumed, _ = run("residual", "volume", 0.3, 1, checkpoint=checkpoint)
    assert np.array_equal(resumed.locations, undisturbed.locations)
    pairs = zip(resumed.network.parameters(), undisturbed.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_barrier_closes_gates() -> None:
    # Without the push all gates stay open: what closes them is the budget, not the data.
    layout, network, data = layout_of("residual"), make_network("residual"), make_data()
    quantity = make_quantity(layout, "volume")
    training = TrainSettings(epochs=25, batch_size=16, learning_rate=0.01)
    whole = quantity.count(layout.full())
    pushed = bar(network, layout, data, whole // 2, training, BarSettings("volume"), 0)
    free = bar(network, layout, data, whole // 2, training, BarSettings("volume", strength=0.0), 0)
    assert pushed.gated <= whole // 2
    assert free.gated == whole
    assert free.amount <= whole // 2
