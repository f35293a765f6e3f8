"""Small networks for the criteria tests: residual sum, concatenation, depthwise, flatten, in-place activations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spaces.groups import Group, Side
from spaces.layout import Layout, make_layout

SIDE = 6
CLASSES = 4


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors on busy cores: two threads wait for each other two hundred times longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Mixed(nn.Module):
    """Stem, residual block, two concatenated branches (one depthwise), flatten, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 5, 3, padding=1)
        self.inner_norm = nn.BatchNorm2d(5)
        self.back = nn.Conv2d(5, 6, 3, padding=1, bias=False)
        self.back_norm = nn.BatchNorm2d(6)
        self.left = nn.Conv2d(6, 4, 1)
        self.right = nn.Conv2d(6, 3, 1)
        self.depthwise = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.after = nn.Conv2d(7, 5, 3, padding=1)
        self.first = nn.Linear(5 * 4, 6)
        self.last = nn.Linear(6, CLASSES)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem_norm(self.stem(x)))
        y = self.back_norm(self.back(self.relu(self.inner_norm(self.inner(x)))))
        y += x
        x = self.relu(y)
        branches = [self.left(x), self.depthwise(torch.sigmoid(self.right(x)))]
        x = self.pool(self.relu(self.after(torch.cat(branches, dim=1))))
        return self.last(torch.tanh(self.first(torch.flatten(x, 1))))


class Chain(nn.Module):
    """conv → norm → ReLU → conv → ReLU → mean → linear: one group with a norm, one without."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.b = nn.Conv2d(width, 5, 3, padding=1)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        return self.head(torch.relu(self.b(x)).mean(dim=(2, 3)))


def prepared(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network in float64 and eval mode, with running statistics and scales that are not the defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().double().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network


def layout_of(network: nn.Module) -> Layout:
    """Traced with two zero images in the network's dtype."""
    return make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=next(network.parameters()).dtype))


def data(count: int = 7, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images float64 ``[count, 3, SIDE, SIDE]`` and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def generator_for(criterion: str, group: str) -> torch.Generator:
    """Seeded by the two names alone."""
    return torch.Generator().manual_seed(int.from_bytes(f"{criterion}/{group}".encode()[-7:], "big"))


def permuted(network: nn.Module, group: Group, order: list[int]) -> nn.Module:
    """A copy that computes the same, its group's channel ``i`` being what was channel ``order[i]``."""
    twin = copy.deepcopy(network)
    dimension: dict[Side, int] = {"out": 0, "norm": 0, "in": 1}
    for m in group.members:
        module = twin.get_submodule(m.layer)
        places = [m.positions[m.channels == c] for c in range(group.size)]
        target = torch.from_numpy(np.concatenate(places))
        source = torch.from_numpy(np.concatenate([places[c] for c in order]))
        names = ["weight"] if m.side == "in" else ["weight", "bias", "running_mean", "running_var"]
        with torch.no_grad():
            for name in names:
                tensor = getattr(module, name, None)
                if tensor is not None:
                    moved = tensor.index_select(dimension[m.side], source)
                    tensor.index_copy_(dimension[m.side], target, moved)
    return twin


def kill(network: nn.Module, group: Group, channel: int) -> None:
    """Make one channel dead: zero filters and biases, γ = β = 0, in place."""
    with torch.no_grad():
        for m in (*group.producers(), *group.norms()):
            module = network.get_submodule(m.layer)
            places = torch.from_numpy(m.positions[m.channels == channel])
            for tensor in (module.weight, module.bias, getattr(module, "running_mean", None)):
                if isinstance(tensor, Tensor):
                    tensor[places] = 0
