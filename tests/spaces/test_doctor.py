"""The doctor finds wrong groups, locks them alone, and leaves healthy networks as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from surgery_networks import SIDE, SOUND, Halved, built
from torch import Tensor, nn

from spaces.doctor import check_groups
from spaces.groups import Group, Member
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network

SHAPE = (3, 8, 8)


def untrained(name: str = "inception", shape: tuple[int, int, int] = SHAPE) -> tuple[nn.Module, Layout]:
    arguments = {"stem": 8, "widths": [16, 16], "modules": [1, 2]} if name == "inception" else {}
    network = build_network(NetworkSpec(name, shape, 10, arguments))
    return network, make_layout(network, torch.zeros(2, *shape))


def tampered(layout: Layout, name: str, change: str) -> Layout:
    """The layout with the consumers of one group shifted by a position, or one of them forgotten."""

    def wrong(group: Group) -> Group:
        readers = group.consumers()
        if change == "shifted":
            first = readers[0]
            readers = (Member(first.layer, "in", first.positions, np.roll(first.channels, 1)), *readers[1:])
        else:
            readers = readers[1:]
        return replace(group, members=(*group.producers(), *group.norms(), *readers))

    return replace(layout, groups=tuple(wrong(g) if g.name == name else g for g in layout.groups))


@pytest.mark.parametrize("change", ["shifted", "forgotten"])
@pytest.mark.parametrize("name", ["stem.conv", "stages.0.0.five.1.conv", "stages.1.1.pool.conv"])
def test_a_wrong_group_is_locked_alone(name: str, change: str) -> None:
    # Fresh weights: the signal that the wrong channels carry fades to a thousandth of the classifier's bias.
    network, layout = untrained()
    checked = check_groups(network, tampered(layout, name, change), SHAPE)
    (entry,) = set(checked.locked) - set(layout.locked)
    assert entry.name == name
    assert "zeroing" in entry.reason if change == "shifted" else "forward pass fails" in entry.reason
    assert checked.names == tuple(n for n in layout.names if n != name)


@pytest.mark.slow
def test_a_wrong_group_deep_in_an_untrained_network_is_found() -> None:
    network, layout = untrained("mobilenet_v2", (3, 32, 32))
    name = layout.names[0]
    checked = check_groups(network, tampered(layout, name, "shifted"), (3, 32, 32))
    assert name not in checked.names
    assert len(checked.groups) == len(layout.groups) - 1


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def test_healthy_networks_pass(name: str) -> None:
    network, layout = untrained(name, (3, 32, 32))
    assert check_groups(network, layout, (3, 32, 32)) is layout


@pytest.mark.parametrize("name", SOUND)
def test_healthy_small_networks_pass(name: str) -> None:
    network = built(SOUND[name])
    layout = make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64))
    assert check_groups(network, layout, (3, SIDE, SIDE)) is layout


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves by their count, as ``chunk`` does, in a way that tracing takes for slices."""
    middle = x.shape[1] // 2
    return x[:, :middle], x[:, middle:]


# Halves of two: one channel less of the first is cut right, by rounding, as long as the second half stays whole.
@pytest.mark.parametrize(("width", "sound"), [(4, {"conv"}), (6, set()), (8, set()), (16, set())])
def test_groups_that_must_stay_of_equal_size_are_locked(width: int, sound: set[str]) -> None:
    network = built(lambda: Halved(halves, width))
    layout = make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64))
    assert layout.names[:2] == ("conv", f"conv[{width // 2}]")
    assert set(check_groups(network, layout, (3, SIDE, SIDE)).names) == {"upper", "lower"} | sound


class Either(nn.Module):
    """Two convolutions of which at most one may lose channels: one wide input is enough."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        if max(a.shape[1], b.shape[1]) < 4:
            a = a + 1
        return self.head(torch.cat([a, b], dim=1).mean(dim=(2, 3)))


def test_groups_that_fail_only_together_are_locked() -> None:
    network = built(Either)
    layout = make_layout(network, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64))
    checked = check_groups(network, layout, (3, SIDE, SIDE))
    assert not checked.groups
    assert all(e.reason.startswith("together") for e in checked.locked if e.name in "ab")


def test_checking_leaves_the_network_as_it_was() -> None:
    network, layout = untrained()
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    check_groups(network, tampered(layout, "stem.conv", "shifted"), SHAPE)
    assert all(m.training for m in network.modules())
    assert all(torch.equal(before[k], v) and before[k].dtype == v.dtype for k, v in network.state_dict().items())
