"""Networks that surgery gets wrong easily, and the comparison of masked, compact and expanded networks.

They are activated by SiLU: of the few channels that a trial may leave, ReLU would silence all too often.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.doctor import check_groups
from spaces.layout import Kept, Layout, make_layout
from spaces.surgery import compact, expand, masked

SIDE = 6
CLASSES = 3


class Headed(nn.Module):
    """A body, global average, linear classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, CLASSES)

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


class CatGrouped(Headed):
    """A grouped convolution reads a concatenation; groups do not divide where one branch ends."""

    def __init__(self, left: int = 3, right: int = 5, outputs: int = 8, groups: int = 4) -> None:
        super().__init__(6)
        self.left = nn.Conv2d(3, left, 1)
        self.right = nn.Conv2d(3, right, 1)
        self.norm = nn.BatchNorm2d(left + right)
        self.grouped = nn.Conv2d(left + right, outputs, 3, padding=1, groups=groups)
        self.after = nn.Conv2d(outputs, 6, 1)

    def body(self, x: Tensor) -> Tensor:
        joined = F.silu(self.norm(torch.cat([self.left(x), self.right(x)], dim=1)))
        return F.silu(self.after(F.silu(self.grouped(joined))))


class CatDepthwise(Headed):
    """A depthwise convolution reads a concatenation and is read with the first branch once more."""

    def __init__(self) -> None:
        super().__init__(11)
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 3, 3, padding=1)
        self.depthwise = nn.Conv2d(7, 7, 3, padding=1, groups=7)
        self.norm = nn.BatchNorm2d(7)

    def body(self, x: Tensor) -> Tensor:
        left = self.left(x)
        joined = torch.cat([torch.sigmoid(left), self.right(x)], dim=1)
        return torch.cat([F.silu(self.norm(self.depthwise(joined))), left], dim=1)


class CatAdd(Headed):
    """One convolution's channels are added to the concatenation of two others: its halves belong to both."""

    def __init__(self) -> None:
        super().__init__(9)
        self.whole = nn.Conv2d(3, 9, 1)
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 5, 1)

    def body(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.add(torch.cat((self.left(x), self.right(x)), 1), self.whole(x)))


class Squeezed(Headed):
    """Squeeze and excitation: channels are multiplied by gates of their own group."""

    def __init__(self) -> None:
        super().__init__(6)
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.down = nn.Conv2d(6, 4, 1)
        self.up = nn.Conv2d(4, 6, 1)

    def body(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.first(x)))
        gates = torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        return x * gates


class Flat(nn.Module):
    """Channels fan out to inputs of a linear layer by ``flatten`` or ``view``; batch norm over features follows."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.first = nn.Linear(5 * 9, 7)
        self.norm = nn.BatchNorm1d(7)
        self.head = nn.Linear(7, CLASSES)
        self.view = view

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.silu(self.conv(x)), 2)
        x = x.view(x.shape[0], -1) if self.view else torch.flatten(x, 1)
        return self.head(F.silu(self.norm(self.first(x))))


class Halved(Headed):
    """The two halves of a convolution's channels go different ways, cut by ``cut``."""

    def __init__(self, cut: Callable[[Tensor], tuple[Tensor, Tensor]], width: int = 8) -> None:
        super().__init__(11)
        self.conv = nn.Conv2d(3, width, 1)
        self.upper = nn.Conv2d(width // 2, 5, 1)
        self.lower = nn.Conv2d(width // 2, 6, 1)
        self.cut = cut

    def body(self, x: Tensor) -> Tensor:
        upper, lower = self.cut(F.silu(self.conv(x)))
        return torch.cat([F.silu(self.upper(upper)), F.silu(self.lower(lower))], dim=1)


class Mixing(Headed):
    """Something between two convolutions mixes channels without weights of its own."""

    def __init__(self, mix: Callable[[Tensor], Tensor], width: int, mixed: int) -> None:
        super().__init__(5)
        self.conv = nn.Conv2d(3, width, 1)
        self.mix = mix
        self.after = nn.Conv2d(mixed, 5, 1)

    def body(self, x: Tensor) -> Tensor:
        return F.silu(self.after(self.mix(self.conv(x))))


def spelled_out(x: Tensor) -> Tensor:
    """A view that names the number of channels."""
    return x.view(-1, 8, x.shape[2] * x.shape[3]).unsqueeze(3)


def shuffled(x: Tensor) -> Tensor:
    """ShuffleNet's channel shuffle in two blocks."""
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


SOUND: dict[str, Callable[[], nn.Module]] = {
    "cat-grouped": CatGrouped,
    "cat-depthwise": CatDepthwise,
    "cat-add": CatAdd,
    "squeezed": Squeezed,
    "flatten": lambda: Flat(view=False),
    "view": lambda: Flat(view=True),
}
"""All groups of these are found right by tracing alone."""

CUT: dict[str, Callable[[], nn.Module]] = {
    "chunk": lambda: Halved(lambda x: x.chunk(2, dim=1)),
    "chunk-of-four": lambda: Halved(lambda x: x.chunk(2, dim=1), width=4),
    "split": lambda: Halved(lambda x: torch.split(x, 4, dim=1)),
    "split-sizes": lambda: Halved(lambda x: torch.split(x, [4, 4], dim=1)),
    "slice": lambda: Halved(lambda x: (x[:, :4], x[:, 4:])),
    "glu": lambda: Mixing(lambda x: F.glu(x, dim=1), 8, 4),
    "group-norm": lambda: Mixing(lambda x: F.group_norm(x, 2), 8, 8),
    "shuffle": lambda: Mixing(shuffled, 8, 8),
    "softmax": lambda: Mixing(lambda x: x.softmax(dim=1), 8, 8),
    "spelled-out": lambda: Mixing(spelled_out, 8, 8),
}
"""The first channels of ``conv`` must stay in these: the forward pass fixes a count or an order of channels."""


def lively(network: nn.Module, shape: tuple[int, int, int], seed: int = 0) -> nn.Module:
    """The network in float64, its batch norms random but fitting their inputs, so that no signal dies on its way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        norms = [m for m in network.double().modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.uniform_(norm.bias, 0.0, 0.8)
        with torch.no_grad():
            network(torch.randn(4, *shape, dtype=torch.float64))
            for norm in norms:
                norm.running_mean += torch.randn_like(norm.running_mean) * 0.1 * norm.running_var.sqrt()
                norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.6, 1.4)
                norm.momentum = 0.1
    return network.eval()


def built(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """``make()`` with seeded weights, lively."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make().eval()
    return lively(network, (3, SIDE, SIDE), seed)


def layout_in(network: nn.Module, shape: tuple[int, int, int] = (3, SIDE, SIDE)) -> Layout:
    """Traced in the network's precision, and seen by the doctor."""
    return check_groups(network, make_layout(network, torch.zeros(2, *shape, dtype=torch.float64)), shape)


def random_kept(layout: Layout, rng: np.random.Generator, least: float = 0.0) -> dict[str, np.ndarray]:
    """Random channels of random widths, at least one and at least the share ``least`` of each group."""
    kept = {}
    for group in layout.groups:
        width = int(rng.integers(max(1, int(least * group.size)), group.size + 1))
        kept[group.name] = np.sort(rng.choice(group.size, width, replace=False))
    return kept


@torch.no_grad()
def assert_same(network: nn.Module, layout: Layout, kept: Kept, shape: tuple[int, int, int], images: int = 2) -> None:
    """Masked base network, compact network and its expansion agree to 1e-5 of what varies between images."""
    x = torch.randn(images, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = masked(network, layout, kept).eval()(x)
    small = compact(network, layout, kept).eval()
    spread = float((expected - expected.mean(dim=0)).abs().max())
    assert spread > 1e-9 * float(expected.abs().max()), "the images make no difference: this comparison would be blind"
    assert float((small(x) - expected).abs().max()) <= 1e-5 * spread
    assert float((expand(small, network, layout, kept).eval()(x) - expected).abs().max()) <= 1e-5 * spread
