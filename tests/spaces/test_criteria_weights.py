"""Weight criteria against oracles: l1, l2, fpgm, bn_scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from criteria_networks import Chain, Mixed, layout_of, one_thread, prepared  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spaces.blend import ranks
from spaces.criteria import CRITERIA, Evidence
from spaces.groups import Group, Member


def member(layer: str, side: str, positions: list[int], channels: list[int] | None = None) -> Member:
    channels = list(range(len(positions))) if channels is None else channels
    return Member(layer, side, np.array(positions), np.array(channels))  # type: ignore[arg-type]


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), dtype=torch.float64)
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    return layer


def score(name: str, group: Group, network: nn.Module) -> np.ndarray:
    with torch.no_grad():
        result = CRITERIA[name].score(group, Evidence(network, {}, {}), torch.Generator())
    assert result.dtype == torch.float64
    assert result.shape == (group.size,)
    return result.numpy()


def one_producer(rows: list[list[float]]) -> tuple[nn.Module, Group]:
    return nn.Sequential(linear(rows)), Group("0", len(rows), (member("0", "out", list(range(len(rows)))),))


def test_norms_by_hand() -> None:
    network, group = one_producer([[3.0, -4.0], [1.0, 1.0]])
    assert score("l1", group, network) == pytest.approx([7, 2])
    assert score("l2", group, network) == pytest.approx([5, 2**0.5])


def test_filters_are_taken_at_the_groups_positions_and_put_at_its_channels() -> None:
    network = nn.Sequential(linear([[1.0], [2.0], [4.0], [8.0]]))
    group = Group("0", 2, (member("0", "out", [3, 1], [0, 1]),))
    assert score("l1", group, network).tolist() == [8, 2]


def test_positions_of_one_channel_are_averaged() -> None:
    network = nn.Sequential(linear([[1.0], [2.0], [4.0], [8.0]]))
    group = Group("0", 2, (member("0", "out", [0, 1, 2, 3], [0, 0, 1, 1]),))
    assert score("l1", group, network).tolist() == [1.5, 6]


def test_several_producers_are_levelled_by_their_means() -> None:
    network = nn.ModuleDict({"a": linear([[1.0], [3.0]]), "b": linear([[600.0], [200.0]]), "zero": linear([[0.0]] * 2)})
    group = Group("a", 2, tuple(member(n, "out", [0, 1]) for n in ("a", "b")))
    assert score("l1", group, network) == pytest.approx([(0.5 + 1.5) / 2, (1.5 + 0.5) / 2])
    with_zero = Group("a", 2, tuple(member(n, "out", [0, 1]) for n in ("a", "zero")))
    assert score("l1", with_zero, network) == pytest.approx([0.25, 0.75])


def test_bias_does_not_count() -> None:
    network, group = one_producer([[1.0], [2.0]])
    network[0].bias.data = torch.tensor([100.0, -100.0], dtype=torch.float64)  # type: ignore[index,union-attr]
    assert score("l1", group, network).tolist() == [1, 2]


def test_lamp_by_hand() -> None:
    network, group = one_producer([[1.0], [3.0], [2.0], [0.0], [-2.0]])
    assert score("lamp", group, network) == pytest.approx([1 / 18, 1, 4 / 17, 0, 4 / 17])
    network, group = one_producer([[0.0], [0.0]])
    assert score("lamp", group, network).tolist() == [0, 0]


@given(st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 6)), min_size=2, max_size=9))  # no squares near 1e-308
@settings(max_examples=40, deadline=None)
def test_lamp_is_the_double_loop_and_ranks_as_the_norm(values: list[float]) -> None:
    network, group = one_producer([[v] for v in values])
    squares = [v * v for v in values]
    expected = [s / sum(o for o in squares if o >= s) if s else 0.0 for s in squares]
    assert score("lamp", group, network) == pytest.approx(expected, rel=1e-9)
    assert np.array_equal(ranks(score("lamp", group, network)), ranks(np.array(squares)))


def test_fpgm_scores_the_middle_of_a_line_lowest() -> None:
    network, group = one_producer([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0], [9.0, 9.0]])
    values = score("fpgm", group, network)
    assert values.argmin() == 2
    assert values / 2**0.5 == pytest.approx([1 + 2 + 3 + 8, 1 + 1 + 2 + 7, 2 + 1 + 1 + 6, 3 + 2 + 1 + 5, 8 + 7 + 6 + 5])


@pytest.mark.parametrize("count", [5, 40])  # above 25 filters torch.cdist multiplies matrices
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_fpgm_is_the_double_loop(count: int, offset: float) -> None:
    rows = torch.randn(count, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + offset
    rows[1] = rows[0]
    network, group = one_producer(rows.tolist())
    expected = [sum(float((a - b).norm()) for b in rows) for a in rows]
    assert score("fpgm", group, network) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), min_size=2, max_size=8))
@settings(max_examples=40, deadline=None)
def test_weight_criteria_against_numpy(rows: list[list[float]]) -> None:
    network, group = one_producer(rows)
    w = np.array(rows)
    assert score("l1", group, network) == pytest.approx(np.abs(w).sum(1))
    assert score("l2", group, network) == pytest.approx(np.sqrt((w**2).sum(1)))
    distances = np.sqrt(((w[:, None] - w[None]) ** 2).sum(-1)).sum(1)
    assert score("fpgm", group, network) == pytest.approx(distances, abs=1e-9)


@given(st.floats(1e-6, 1e6), st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_positive_scaling_of_any_one_layer_keeps_ranks(factor: float, seed: int) -> None:
    network, scaled = prepared(Mixed, seed), prepared(Mixed, seed)
    for group in layout_of(network).groups:
        scaled.get_submodule(group.producers()[0].layer).weight.data *= factor
        for name in ("l1", "l2", "fpgm"):
            assert np.array_equal(ranks(score(name, group, scaled)), ranks(score(name, group, network)))


def test_bn_scale_by_hand() -> None:
    network = prepared(Chain)
    first, second = layout_of(network).groups
    network.norm.weight.data = torch.tensor([1.0, -5.0, 0.0, 2.0, 3.0, 4.0], dtype=torch.float64)  # type: ignore[union-attr]
    assert score("bn_scale", first, network).tolist() == [1, 5, 0, 2, 3, 4]
    assert score("bn_scale", second, network).tolist() == [1] * 5  # no norm: constant


def test_bn_scale_levels_several_norms_and_passes_over_those_without_scale() -> None:
    norms = {"a": nn.BatchNorm2d(2), "b": nn.BatchNorm2d(2), "plain": nn.BatchNorm2d(2, affine=False)}
    norms["a"].weight.data = torch.tensor([1.0, 3.0])
    norms["b"].weight.data = torch.tensor([-60.0, 20.0])
    network = nn.ModuleDict(norms)

    def group(*names: str) -> Group:
        return Group("g", 2, tuple(member(n, "norm", [0, 1]) for n in names))

    assert score("bn_scale", group("a", "b"), network) == pytest.approx([(0.5 + 1.5) / 2, (1.5 + 0.5) / 2])
    assert score("bn_scale", group("plain", "a"), network).tolist() == [1, 3]
    assert score("bn_scale", group("plain"), network).tolist() == [1, 1]


def test_depthwise_filters_count_as_producers() -> None:
    network = prepared(Mixed)
    group = next(g for g in layout_of(network).groups if g.name == "right")
    assert [m.layer for m in group.producers()] == ["right", "depthwise"]
    values = [network.get_submodule(n).weight.detach().abs().flatten(1).sum(1) for n in ("right", "depthwise")]
    expected = sum(v / v.mean() for v in values) / 2
    assert score("l1", group, network) == pytest.approx(np.asarray(expected))
