"""Compensation is least squares: a solver on the samples themselves agrees, and what theory says comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from criteria_networks import Mixed
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spaces import SHAPE, foundation_with
from surgery_networks import SIDE, SOUND, built, random_kept
from torch import Tensor, nn
from torch.nn import functional as F

from spaces import input_moments
from spaces.compensate import make_compensation
from spaces.input_moments import LARGEST, measure_inputs
from spaces.layout import Kept, Layout, make_layout
from spaces.surgery import compact, expand

NETWORKS: dict[str, Callable[[], nn.Module]] = {**SOUND, "mixed": Mixed}
KEPT = np.array([0, 2, 3])
SEEDS = st.integers(0, 2**32 - 1)


class Pair(nn.Module):
    """A convolution whose channels a second layer reads; what that makes is seen through ``after``."""

    def __init__(self, reader: nn.Module, after: nn.Module | None = None, flat: bool = False) -> None:
        super().__init__()
        self.maker = nn.Conv2d(3, 5, 3, padding=1)
        self.reader = reader
        self.after = nn.Identity() if after is None else after
        self.flat = flat

    def read(self, x: Tensor) -> Tensor:
        """What the reader is given."""
        x = F.silu(self.maker(x))
        return x.flatten(1) if self.flat else x

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.reader(self.read(x)))


def images(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)


def prepared(network: nn.Module) -> tuple[nn.Module, Layout]:
    """In float64 and traced."""
    network = network.double().eval()
    return network, make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64))


def compensated(
    network: nn.Module, layout: Layout, kept: Kept, seen: Tensor, ridge: float = 0.0, largest: int = LARGEST
) -> nn.Module:
    small = compact(network, layout, kept)
    moments = measure_inputs(network, layout, seen, 16, largest)
    make_compensation(network, layout, moments, ridge).apply(small, kept)
    return small


def samples(pair: Pair, seen: Tensor, channels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Inputs of the reader ``[samples, D]`` of which ``channels`` are left, and its outputs ``[samples, outputs]``."""
    with torch.no_grad():
        x = pair.read(seen)
        y = pair.reader(x)
        if isinstance(pair.reader, nn.Linear):
            return x.unflatten(1, (5, -1))[:, channels].flatten(1), y
        conv = pair.reader
        assert isinstance(conv, nn.Conv2d)
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        padded = F.pad(x[:, channels], conv._reversed_padding_repeated_twice, mode=mode)
        patches = F.unfold(padded, conv.kernel_size, conv.dilation, 0, conv.stride)
        return patches.movedim(1, 2).flatten(0, 1), y.flatten(2).movedim(1, 2).flatten(0, 1)


def regression(x: Tensor, y: Tensor, constant: bool) -> tuple[Tensor, Tensor]:
    """Coefficients ``[outputs, D]`` and constants by LAPACK's least squares."""
    design = torch.cat([x, x.new_ones(len(x), 1)], dim=1) if constant else x
    solution = torch.linalg.lstsq(design, y, driver="gelsd").solution.T
    return (solution[:, :-1], solution[:, -1]) if constant else (solution, solution.new_zeros(len(solution)))


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "kernel_size": st.sampled_from([1, 2, 3, (3, 1)]),
        "stride": st.integers(1, 2),
        "padding": st.integers(0, 1),
        "dilation": st.integers(1, 2),
        "padding_mode": st.sampled_from(["zeros", "reflect", "circular"]),
    }
)


@given(settings_=CONVOLUTIONS, seed=SEEDS)
@settings(max_examples=15)
def test_a_convolution_is_what_a_regression_on_patches_gives(settings_: dict[str, Any], seed: int) -> None:
    torch.manual_seed(seed)
    pair, layout = prepared(Pair(nn.Conv2d(5, 4, **settings_)))
    assert isinstance(pair, Pair)
    seen = images(45 * input_moments.ROWS, seed % 1000)
    small = compensated(pair, layout, {"maker": KEPT}, seen).reader
    weight, bias = regression(*samples(pair, seen, KEPT), constant=True)
    assert float((small.weight.detach().flatten(1) - weight).abs().max()) < 1e-8
    assert float((small.bias.detach() - bias).abs().max()) < 1e-8


def test_a_linear_layer_behind_a_flatten_is_what_a_regression_gives() -> None:
    torch.manual_seed(0)
    pair, layout = prepared(Pair(nn.Linear(5 * SIDE * SIDE, 4), flat=True))
    seen = images(5 * SIDE * SIDE * input_moments.ROWS)
    small = compensated(pair, layout, {"maker": KEPT}, seen).reader
    weight, bias = regression(*samples(pair, seen, KEPT), constant=True)
    assert float((small.weight.detach() - weight).abs().max()) < 1e-8
    assert float((small.bias.detach() - bias).abs().max()) < 1e-8


@pytest.mark.parametrize("after", [None, nn.BatchNorm2d(4)])
def test_a_layer_without_a_bias_gets_none(after: nn.Module | None) -> None:
    """Before a batch norm its weights are those of a fit with a constant; elsewhere of a fit through the origin."""
    torch.manual_seed(0)
    pair, layout = prepared(Pair(nn.Conv2d(5, 4, 3, bias=False), after))
    seen = images(60)
    small = compensated(pair, layout, {"maker": KEPT}, seen).reader
    weight, _ = regression(*samples(pair, seen, KEPT), constant=after is not None)
    assert float((small.weight.detach().flatten(1) - weight).abs().max()) < 1e-8
    assert small.bias is None


def test_the_error_that_is_left_is_that_of_theory() -> None:
    """``R(S) = tr(W Σ Wᵀ) − tr(W Σ_:S Σ_SS⁻¹ Σ_S: Wᵀ)``, the paper's equation, is the mean squared error."""
    torch.manual_seed(0)
    pair, layout = prepared(Pair(nn.Conv2d(5, 4, 3, stride=2, padding=1)))
    seen = images(60)
    [inputs] = measure_inputs(pair, layout, seen, 16)
    covariance, weight = torch.tensor(inputs.covariance), pair.reader.weight.detach().flatten(1)
    stay = torch.from_numpy(KEPT.repeat(9) * 9 + np.tile(np.arange(9), len(KEPT)))
    across, within = covariance[:, stay], covariance[stay][:, stay]
    left = weight @ (covariance - across @ torch.linalg.solve(within, across.T)) @ weight.T
    small = compensated(pair, layout, {"maker": KEPT}, seen)
    error = (small(seen) - pair(seen)).square().sum(dim=1).mean()
    assert float(error.detach()) == pytest.approx(float(left.trace()), rel=1e-9)


def duplicated(network: nn.Module, layout: Layout, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make one channel of each group the copy of another, in place; what is left when the copies go."""
    kept = {}
    for group in layout.groups:
        original, copy = rng.choice(group.size, 2, replace=False)
        for m in (*group.producers(), *group.norms()):
            source, target = (torch.from_numpy(m.positions[m.channels == c]) for c in (original, copy))
            for tensor in network.get_submodule(m.layer).state_dict().values():
                if tensor.dim():
                    tensor[target] = tensor[source]
        kept[group.name] = np.delete(np.arange(group.size), copy)
    return kept


@pytest.mark.parametrize("largest", [LARGEST, 12], ids=["taps", "shared"])
@pytest.mark.parametrize("name", NETWORKS)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_what_others_can_say_as_well_is_not_missed(name: str, largest: int, seed: int) -> None:
    """Residual sums, concatenations, depthwise convolutions, gates, flattened maps."""
    network = built(NETWORKS[name], seed % 7)
    layout = make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64))
    kept = duplicated(network, layout, np.random.default_rng(seed))
    small = compensated(network, layout, kept, images(240), 1e-12, largest)
    new = images(9, seed=1)
    expected = network(new)
    plain = float((compact(network, layout, kept)(new) - expected).detach().abs().max())
    assert plain > 1e-3, "the copies make no difference: this comparison would be blind"
    assert float((small(new) - expected).detach().abs().max()) < 1e-6


@pytest.mark.parametrize("name", NETWORKS)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_a_compensated_network_is_still_what_its_widths_promise(name: str, seed: int) -> None:
    """Its parameters are counted, its full-size twin computes the same, and layers that lost no input are unchanged."""
    network = built(NETWORKS[name], seed % 7)
    layout = make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64))
    kept = random_kept(layout, np.random.default_rng(seed))
    small = compensated(network, layout, kept, images(40), 1e-6)
    widths = np.array([len(kept[name]) for name in layout.names])
    assert sum(p.numel() for p in small.parameters()) == layout.cost(widths).params
    new = images(3, seed=1)
    assert torch.allclose(expand(small, network, layout, kept)(new), small(new), atol=1e-9)
    plain = compact(network, layout, kept).state_dict()
    alive = layout.alive(kept)
    poorer = {layer for (layer, side), owners in layout.owners.items() if side == "in" and not alive[owners].all()}
    for tensor, value in small.state_dict().items():
        assert tensor.rpartition(".")[0] in poorer or torch.equal(value, plain[tensor])


def test_much_ridge_leaves_the_weights_and_mends_the_mean() -> None:
    torch.manual_seed(0)
    pair, layout = prepared(Pair(nn.Conv2d(5, 4, 3)))
    kept = {"maker": KEPT}
    seen = images(60)
    small = compensated(pair, layout, kept, seen, ridge=1e12)
    assert torch.allclose(small.reader.weight, compact(pair, layout, kept).reader.weight, atol=1e-9)
    outputs, expected = small(seen), pair(seen)
    assert torch.allclose(outputs.mean(dim=(0, 2, 3)), expected.mean(dim=(0, 2, 3)), atol=1e-8)


def test_too_many_inputs_for_any_covariance_still_mend_the_mean() -> None:
    torch.manual_seed(0)
    pair, layout = prepared(Pair(nn.Conv2d(5, 4, 3)))
    seen = images(60)
    [inputs] = measure_inputs(pair, layout, seen, 16, largest=4)
    assert inputs.covariance is None
    assert inputs.taps == 1
    small = compensated(pair, layout, {"maker": KEPT}, seen, largest=4)
    assert torch.equal(small.reader.weight, pair.reader.weight[:, KEPT])
    assert not torch.equal(small.reader.bias, pair.reader.bias)


def test_dead_inputs_are_no_trouble() -> None:
    torch.manual_seed(0)
    pair, layout = prepared(Pair(nn.Conv2d(5, 4, 3)))
    nn.init.zeros_(pair.maker.weight)
    nn.init.zeros_(pair.maker.bias)
    small = compensated(pair, layout, {"maker": KEPT}, images(9), 1e-6)
    assert torch.equal(small(images(2)), pair(images(2)))


def test_candidates_are_compensated_where_their_trunk_has_moments() -> None:
    """Grown ones too: nearer to the trunk's answers than plain pruning, which leaves the trunk as it was."""
    plain = foundation_with()
    seen = torch.randn(60, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    new = torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    trunks = {g: replace(t, moments=measure_inputs(t.network, t.layout, seen, 16)) for g, t in plain.trunks.items()}
    ours = replace(plain, trunks=trunks)
    for growth, trunk in trunks.items():
        before = {k: v.clone() for k, v in trunk.network.state_dict().items()}
        nearer = 0
        for draw in range(4):
            sampled = plain.space.sample(np.random.default_rng(draw))
            genome = replace(sampled, growth=growth, width=1.0, keep=tuple(max(k, 0.6) for k in sampled.keep))
            expected = trunk.network(new)
            errors = [float((f.build(genome).network(new) - expected).detach().square().mean()) for f in (ours, plain)]
            nearer += errors[0] < errors[1]
        assert nearer >= 3
        assert all(torch.equal(before[k], v) for k, v in trunk.network.state_dict().items())
