"""Costs without building are the costs of what is built: tensors counted, multiply-accumulates seen by hooks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from surgery_networks import SOUND, CatGrouped
from torch import Tensor, nn

from spaces.layout import Cost, Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.surgery import compact

SEEDS = st.integers(0, 2**32 - 1)


def counted(network: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """The oracle: reads the network only."""
    macs = 0

    def watch(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += output[0].numel() * module.weight[0].numel()
        else:
            macs += output.numel() // len(images) * module.weight.shape[1]  # type: ignore[operator,index,union-attr]

    handles = [m.register_forward_hook(watch) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    images = torch.zeros(2, *shape)
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    params = sum(p.numel() for p in network.parameters())
    floats = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    return Cost(params, macs, 4 * (params + floats))


def assert_exact(network: nn.Module, layout: Layout, shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, layout.sizes + 1)
    kept = {g.name: np.sort(rng.choice(g.size, w, replace=False)) for g, w in zip(layout.groups, widths, strict=True)}
    assert layout.cost(widths) == counted(compact(network, layout, kept), shape)


class Tokens(nn.Module):
    """A linear layer runs over pixels, one over tokens with the images folded in, one convolution runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.pixels = nn.Linear(6, 5)
        self.folded = nn.Linear(5, 4, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.again(self.conv(x)))
        x = self.pixels(x.flatten(2).transpose(1, 2))
        x = self.folded(x.reshape(-1, x.shape[2])).view(x.shape[0], x.shape[1], -1)
        return self.head(x.mean(dim=1))


class Leftovers(nn.Module):
    """Layers of several kinds that are not pruned, statistics that are not kept, and a branch that is not run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, bias=False)
        self.plain = nn.BatchNorm2d(6, affine=False)
        self.second = nn.Conv2d(6, 4, 1)
        self.fresh = nn.BatchNorm2d(4, track_running_stats=False)
        self.scale = nn.Parameter(torch.ones(7, 1, 1))
        self.third = nn.Conv2d(4, 7, 1)
        self.spread = nn.GroupNorm(1, 7)
        self.head = nn.Linear(7, 3)
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.unused = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.fresh(self.second(torch.relu(self.plain(self.conv(x - self.mean)))))
        return self.head(self.spread(self.third(x) * self.scale).mean(dim=(2, 3)))


SMALL: dict[str, Callable[[], nn.Module]] = {
    **SOUND,
    "multiplied-depthwise": lambda: CatGrouped(2, 4, 12, 6),
    "tokens": Tokens,
    "leftovers": Leftovers,
}


@pytest.mark.parametrize("name", SMALL)
@given(seed=SEEDS)
@settings(max_examples=20)
def test_small_networks(name: str, seed: int) -> None:
    shape = (3, 6, 6)
    network = SMALL[name]()
    layout = make_layout(network, torch.zeros(2, *shape))
    assert_exact(network, layout, shape, seed)
    assert layout.cost(layout.full()) == counted(network, shape)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inception", (1, 16, 16)),
        ("resnet18", (3, 32, 24)),
        ("mobilenet_v2", (1, 32, 32)),
        ("efficientnet_b0", (3, 32, 32)),
        ("resnext50_32x4d", (3, 32, 32)),
        pytest.param("densenet121", (3, 32, 32), marks=pytest.mark.slow),
        pytest.param("vgg16_bn", (3, 32, 32), marks=pytest.mark.slow),
        pytest.param("inception_v3", (3, 80, 80), marks=pytest.mark.slow),
    ],
)
def test_real_networks(name: str, shape: tuple[int, int, int]) -> None:
    network = build_network(NetworkSpec(name, shape, 7))
    layout = make_layout(network, torch.zeros(2, *shape))
    assert layout.cost(layout.full()) == counted(network, shape)
    for seed in range(3):
        assert_exact(network, layout, shape, seed)


def test_known_numbers() -> None:
    network = build_network(NetworkSpec("resnet18", (3, 224, 224), 1000))
    layout = make_layout(network, torch.zeros(1, 3, 224, 224))
    cost = layout.cost(layout.full())
    assert cost.params == 11_689_512
    assert cost.macs == 1_814_073_344


@given(seed=SEEDS)
@settings(max_examples=30)
def test_less_of_any_group_never_costs_more(seed: int) -> None:
    network = SOUND["cat-depthwise"]()
    layout = make_layout(network, torch.zeros(2, 3, 6, 6))
    rng = np.random.default_rng(seed)
    wide = rng.integers(1, layout.sizes + 1)
    narrow = rng.integers(1, wide + 1)
    less, more = layout.cost(narrow), layout.cost(wide)
    assert less.params <= more.params
    assert less.macs <= more.macs
    assert less.bytes <= more.bytes
    assert (narrow == wide).all() == (less == more)
