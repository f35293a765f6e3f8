"""All criteria together: registry, tables, invariances, and real networks."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from criteria_networks import (  # noqa: F401
    CLASSES,
    SIDE,
    Chain,
    Mixed,
    data,
    generator_for,
    kill,
    layout_of,
    one_thread,
    permuted,
    prepared,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces.blend import keep_channels, ranks
from spaces.criteria import BASIC, CRITERIA, Criterion, Evidence, rank_tables, resolve, score_groups
from spaces.criteria.scoring import left_out
from spaces.groups import Group, example_input
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network

ALL = resolve(list(CRITERIA))
MEASURED = [c for c in ALL if c.name != "random"]


def scored(network: nn.Module, layout: Layout, criteria: Sequence[Criterion]) -> dict[str, np.ndarray]:
    return score_groups(network, layout, criteria, *data(), 4, generator_for)


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_scores_follow_a_permutation_of_channels(draw: st.DataObject) -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    before = scored(network, layout, MEASURED)
    group = draw.draw(st.sampled_from(layout.groups))
    order = draw.draw(st.permutations(range(group.size)))
    twin = permuted(network, group, order)
    images, _ = data()
    torch.testing.assert_close(twin(images), network(images), rtol=1e-9, atol=1e-12)
    after = scored(twin, layout, MEASURED)
    for name in layout.names:
        expected = before[name][:, order] if name == group.name else before[name]
        np.testing.assert_allclose(after[name], expected, rtol=1e-8, atol=1e-12)


DEAD_LAST = [
    *("l1", "l2", "bn_scale", "taylor", "activation_mean", "lamp", "fisher", "gate_fisher", "apoz", "hrank", "cpli"),
    *("activation_variance", "compensation", "csg_sensitivity", "discriminant", "self_supervised"),
    "reconstruction",
]


@pytest.mark.parametrize("name", DEAD_LAST)
def test_a_dead_channel_ranks_last(name: str) -> None:
    network = prepared(Chain)
    layout = layout_of(network)
    group = layout.groups[0]
    kill(network, group, 2)
    row = rank_tables(scored(network, layout, [CRITERIA[name]]))[group.name][0]
    assert row.argmin() == 2
    assert row[2] == 0  # a shared last place would be above zero


def test_a_dead_channel_of_a_residual_sum_scores_zero() -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    kill(network, layout.groups[0], 3)
    table = scored(network, layout, resolve(DEAD_LAST))["stem"]
    assert (table[:, 3] <= 1e-15 * table.max(axis=1)).all()  # an inverse rounds
    assert (np.delete(table, 3, axis=1).sum(axis=1) > 0).all()


@given(st.integers(0, 10**6), st.integers(2, 9), st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_rescaling_a_channel_against_its_readers_changes_nothing(seed: int, width: int, factor: float) -> None:
    """The network computes the same, so a criterion of what it computes scores the same."""
    network, twin = prepared(lambda: Chain(width), seed), prepared(lambda: Chain(width), seed)
    layout = layout_of(network)
    channel = seed % width
    with torch.no_grad():
        twin.norm.weight[channel] *= factor  # type: ignore[union-attr,index,operator]
        twin.norm.bias[channel] *= factor  # type: ignore[union-attr,index,operator]
        twin.b.weight[:, channel] /= factor  # type: ignore[union-attr,index,operator]
    names = ["taylor", "gate_fisher", "fisher", "cpli", "apoz", "hrank", "discriminant"]
    criteria = resolve([*names, "self_supervised", "reconstruction"])
    before, after = scored(network, layout, criteria), scored(twin, layout, criteria)
    for name in layout.names:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-7, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 9))
@settings(max_examples=10, deadline=None)
def test_scores_do_not_depend_on_the_batch_size(seed: int, batch_size: int) -> None:
    network = prepared(Mixed, seed)
    layout = layout_of(network)
    criteria = [c for c in MEASURED if c.name != "white_box"]  # it takes a step per batch
    whole, parts = (score_groups(network, layout, criteria, *data(), b, generator_for) for b in (7, batch_size))
    for name in layout.names:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-7, atol=1e-12)


def test_scoring_changes_nothing() -> None:
    network = prepared(Mixed).train()
    layout = layout_of(network)
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    scored(network, layout, ALL)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert all(m.training for m in network.modules())
    assert not any(m._forward_pre_hooks for m in network.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_random_depends_on_its_generator_alone() -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    first = scored(network, layout, [CRITERIA["random"]])
    turned = Layout(layout.groups[::-1], layout.locked, layout.layers, layout.other_params)
    again = scored(network, turned, [CRITERIA["l1"], CRITERIA["random"]])
    for name in layout.names:
        assert np.array_equal(first[name][0], again[name][1])
        assert ((first[name] >= 0) & (first[name] < 1)).all()
    assert not np.array_equal(first["stem"][0, :5], first["inner"][0, :5])


def test_tables_are_rows_of_criteria_in_the_asked_order() -> None:
    network = prepared(Mixed)
    layout = layout_of(network)
    tables = scored(network, layout, [CRITERIA["l2"], CRITERIA["l1"]])
    for group in layout.groups:
        assert tables[group.name].shape == (2, group.size)
        assert tables[group.name].dtype == np.float64
        for row, name in enumerate(["l2", "l1"]):
            alone = CRITERIA[name].score(group, Evidence(network, {}, {}), torch.Generator())
            assert np.array_equal(tables[group.name][row], alone.numpy())
    assert scored(network, layout, [])["stem"].shape == (0, 6)


def test_weight_criteria_ask_for_no_pass() -> None:
    network = prepared(Chain)
    layout = layout_of(network)
    network.forward = None  # type: ignore[assignment,method-assign]
    assert set(scored(network, layout, resolve(["l1", "bn_scale", "random"]))) == set(layout.names)


def test_rank_tables_rank_each_row() -> None:
    tables = rank_tables({"g": np.array([[3.0, 1.0, 2.0], [5.0, 5.0, 5.0], [0.0, 0.0, 1e-9]])})
    assert tables["g"].tolist() == [[1, 0, 0.5], [0.5, 0.5, 0.5], [0.25, 0.25, 1]]
    raw = np.array([4.0, 4.0, -1.0, 7.0])
    assert np.array_equal(rank_tables({"g": raw[None]})["g"][0], ranks(raw))


def test_a_criterion_whose_scores_barely_differ_is_left_out_of_that_group_alone() -> None:
    rng = np.random.default_rng(0)
    telling, faint = rng.uniform(0, 1, 20), 5 + 1e-4 * rng.uniform(0, 1, 20)
    tables = rank_tables({"g": np.array([telling, faint]), "h": np.array([telling, telling]), "one": np.ones((2, 1))})
    assert (tables["g"][1] == 0.5).all()
    assert np.array_equal(tables["g"][0], ranks(telling))
    assert np.array_equal(tables["h"], [ranks(telling)] * 2)
    assert left_out(tables, ["telling", "faint"]) == {"g": ("faint",)}
    for width in range(1, 21):
        kept = keep_channels(tables["g"], [0.3, 0.7], width)
        assert np.array_equal(kept, keep_channels(tables["g"][:1], [1.0], width))


def test_faint_criteria_among_themselves_are_heard() -> None:
    faint = 5 + 1e-6 * np.random.default_rng(0).uniform(0, 1, (2, 20))
    tables = rank_tables({"g": faint})
    assert np.array_equal(tables["g"], [ranks(row) for row in faint])
    assert left_out(tables, ["a", "b"]) == {}


def test_names_resolve_in_order() -> None:
    assert [c.name for c in resolve(["taylor", "l1"])] == ["taylor", "l1"]
    assert all(c.name == key for key, c in CRITERIA.items())
    assert CRITERIA["taylor"].needs == {"taylor"}
    assert CRITERIA["l1"].needs == set()


@pytest.mark.parametrize(("wrong", "near"), [("tailor", "taylor"), ("L1", "l1"), ("bn-scale", "bn_scale")])
def test_unknown_names_are_refused_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong!r}; did you mean {near!r}"):
        resolve(["l2", wrong])


def test_a_name_like_no_other_is_refused_with_all() -> None:
    with pytest.raises(ValueError, match=r"known: l1, l2, .*module:function"):
        resolve(["zzz"])


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("their_criteria")
    monkeypatch.setitem(sys.modules, "their_criteria", module)
    return module


def test_a_users_function_gets_the_basic_evidence(plugin: types.ModuleType) -> None:
    def mine(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
        return evidence.taylor[group.name] + evidence.activation_mean[group.name]

    plugin.mine = mine  # type: ignore[attr-defined]
    (criterion,) = resolve(["their_criteria:mine"])
    assert criterion.needs == BASIC
    network = prepared(Chain)
    table = scored(network, layout_of(network), [*resolve(["taylor", "activation_mean"]), criterion])["a"]
    assert np.array_equal(table[2], table[0] + table[1])


def test_a_users_function_can_say_what_it_needs(plugin: types.ModuleType) -> None:
    def mine(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
        return torch.ones(group.size)

    mine.needs = ("taylor",)  # type: ignore[attr-defined]
    plugin.mine = mine  # type: ignore[attr-defined]
    assert resolve(["their_criteria:mine"])[0].needs == {"taylor"}
    mine.needs = "gradients"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"unknown evidence \['gradients'\]"):
        resolve(["their_criteria:mine"])
    with pytest.raises(ValueError, match=r"space\.criteria: .*no callable 'other'"):
        resolve(["their_criteria:other"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda g: torch.ones(g.size + 1), r"'bad' on group 'a' returned shape \[7\]; it must be \[6\]"),
        (lambda g: torch.ones(1, g.size), r"'bad' on group 'a' returned shape \[1, 6\]"),
        (lambda g: torch.tensor([0, 1, torch.nan, 3, 4, torch.inf]), "'bad' on group 'a' gave nan for channel 2"),
        (lambda g: {}["x"], "'bad' on group 'a' raised KeyError"),
    ],
)
def test_bad_scores_are_refused(result: object, message: str) -> None:
    network = prepared(Chain)
    bad = Criterion("bad", lambda group, evidence, generator: result(group))  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        scored(network, layout_of(network), [bad])


def test_weights_that_are_not_numbers_are_refused() -> None:
    network = prepared(Chain)
    layout = layout_of(network)
    network.a.weight.data[1] = torch.nan  # type: ignore[union-attr,operator]
    with pytest.raises(ValueError, match="'l1' on group 'a' gave nan for channel 1"):
        scored(network, layout, [CRITERIA["l1"]])


@pytest.mark.parametrize(
    ("name", "side"), [("resnet18", 32), ("mobilenet_v2", 32), ("googlenet", 64), ("inception", 32)]
)
def test_real_networks_score_finite_everywhere(name: str, side: int) -> None:
    network = build_network(NetworkSpec(name, (3, side, side), 10), torch.Generator().manual_seed(0))
    layout = make_layout(network, example_input((3, side, side)))
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    tables = score_groups(network, layout, ALL, images, torch.tensor([1, 7]), 2, generator_for)
    assert set(tables) == set(layout.names)
    for group in layout.groups:
        assert tables[group.name].shape == (len(ALL), group.size)
        assert np.isfinite(tables[group.name]).all()
        assert (tables[group.name] >= 0).all()
        assert tables[group.name][[c.name for c in ALL].index("taylor")].max() > 0
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_scores_do_not_depend_on_the_memory_format_of_images() -> None:
    network = prepared(Mixed)
    images, labels = data()
    last = images.contiguous(memory_format=torch.channels_last)
    plain, other = (
        score_groups(network, layout_of(network), MEASURED, x, labels, 4, generator_for) for x in (images, last)
    )
    for name, table in plain.items():
        np.testing.assert_allclose(other[name], table, rtol=1e-8, atol=1e-12)


class Flattening(nn.Module):
    """Its ``view`` takes contiguous channels alone, ``flatten`` any."""

    def __init__(self, views: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        self.linear, self.views = nn.Linear(5 * SIDE * SIDE, CLASSES), views

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).relu()).relu()
        logits: Tensor = self.linear(x.view(len(x), -1) if self.views else x.flatten(1))
        return logits


def test_a_network_that_wants_contiguous_channels_is_scored_as_any() -> None:
    viewing, flattening = (prepared(lambda views=views: Flattening(views)) for views in (True, False))
    own, expected = (scored(network, layout_of(network), MEASURED) for network in (viewing, flattening))
    for name, table in expected.items():
        np.testing.assert_allclose(own[name], table, rtol=1e-8, atol=1e-12)
