"""A budgeted quantity is one polynomial: equal to counting at all widths, and to the mean over random channels."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from surgery_networks import SOUND, built, layout_in
from torch import nn

from spaces.layout import Layout
from spaces.quantity import MEASURES, make_quantity, volume
from spaces.surgery import compact


class Residual(nn.Module):
    """A convolution that reads and makes the same channels: its cost is quadratic in one width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.branch = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 2, 1)
        self.head = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.norm(self.branch(x))
        return self.head(torch.relu(self.last(x)).mean(dim=(2, 3)))


NETWORKS = {**SOUND, "residual": Residual}


@lru_cache
def network_and_layout(name: str) -> tuple[nn.Module, Layout]:
    network = built(NETWORKS[name])
    return network, layout_in(network)


@pytest.mark.parametrize("name", NETWORKS)
@given(st.data())
def test_the_polynomial_counts_exactly(name: str, data: st.DataObject) -> None:
    _, layout = network_and_layout(name)
    widths = np.array([data.draw(st.integers(1, int(size))) for size in layout.sizes])
    for measure in MEASURES:
        expected = volume(layout, widths) if measure == "volume" else getattr(layout.cost(widths), measure)
        assert make_quantity(layout, measure).count(widths) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_volume_is_what_the_layers_of_the_slim_network_write(name: str) -> None:
    network, layout = network_and_layout(name)
    rng = np.random.default_rng(0)
    widths = np.array([rng.integers(1, size + 1) for size in layout.sizes])
    kept = {g.name: np.arange(w) for g, w in zip(layout.groups, widths.tolist(), strict=True)}
    small = compact(network, layout, kept)
    written = []
    for module in small.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _, __, output: written.append(output[0].numel()))
    small(torch.zeros(1, 3, 6, 6, dtype=torch.float64))
    assert volume(layout, widths) == sum(written)


@pytest.mark.parametrize("measure", MEASURES)
def test_expected_quantity_is_the_mean_over_independent_channels(measure: str) -> None:
    _, layout = network_and_layout("flatten")
    quantity = make_quantity(layout, measure)  # type: ignore[arg-type]
    chances = np.random.default_rng(1).uniform(0.1, 0.9, int(layout.sizes.sum()))
    group = np.repeat(np.arange(len(layout.groups)), layout.sizes)
    mean = 0.0
    for alive in product((0, 1), repeat=len(chances)):
        likely = np.prod(np.where(alive, chances, 1 - chances))
        mean += likely * quantity.count(np.bincount(group, weights=alive, minlength=len(layout.groups)).astype(int))
    widths = torch.from_numpy(np.bincount(group, weights=chances))
    assert float(quantity.expected(widths)) == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_gradient_of_the_expectation(measure: str) -> None:
    _, layout = network_and_layout("residual")
    quantity = make_quantity(layout, measure)  # type: ignore[arg-type]
    widths = torch.tensor([2.3, 1.4], dtype=torch.float64, requires_grad=True)
    assert len(layout.groups) == 2
    assert torch.autograd.gradcheck(quantity.expected, (widths,))


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="no quantity is called 'flops'; there are volume, macs, params, bytes"):
        make_quantity(network_and_layout("flatten")[1], "flops")  # type: ignore[arg-type]
