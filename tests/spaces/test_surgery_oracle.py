"""Compact networks are, tensor for tensor, those that Torch-Pruning's own surgery leaves of torchvision's networks."""

from __future__ import annotations

import copy
from collections import defaultdict

import numpy as np
import pytest
import torch
import torch_pruning as tp
from surgery_networks import random_kept
from torch import nn

from spaces.layout import Kept, Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.surgery import make_plan

SHAPE = (3, 32, 32)

FAST = ("resnet18", "googlenet", "mobilenet_v2", "regnet_x_400mf")
BIG = ("resnet50", "vgg16_bn", "inception_v3", "densenet121", "efficientnet_b0", "regnet_y_400mf", "mobilenet_v3_small")


def pruned(network: nn.Module, layout: Layout, kept: Kept) -> nn.Module:
    """A copy without the channels that ``kept`` leaves out: removed group by group, by Torch-Pruning's graph."""
    twin = copy.deepcopy(network)
    graph = tp.DependencyGraph().build_dependency(twin, torch.zeros(1, *SHAPE))
    gone: dict[str, list[int]] = defaultdict(list)
    for group in layout.groups:
        maker = group.producers()[0]
        gone[maker.layer] += maker.positions[~np.isin(maker.channels, kept[group.name])].tolist()
    for name, positions in gone.items():
        layer = twin.get_submodule(name)
        prune = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
        if positions:
            graph.get_pruning_group(layer, prune, idxs=positions).prune()
    return twin


def settled(network: nn.Module) -> nn.Module:
    """Batch norms that fit random images, so that no signal dies on its way."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(2)))
    return network.eval()


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in BIG)])
@torch.no_grad()
def test_torch_pruning_leaves_the_same_network(name: str) -> None:
    network = settled(build_network(NetworkSpec(name, SHAPE, 10), torch.Generator().manual_seed(3)))
    with torch.enable_grad():
        layout = make_layout(network, torch.zeros(2, *SHAPE))
    plan = make_plan(network, layout)
    for seed in range(2):
        kept = random_kept(layout, np.random.default_rng(seed), 0.3)
        with torch.enable_grad():
            expected = pruned(network, layout, kept)
        small = plan.compact(kept)
        assert str(small) == str(expected), "declared sizes differ"
        tensors = expected.state_dict()
        assert list(small.state_dict()) == list(tensors)
        assert [k for k, v in small.state_dict().items() if not torch.equal(v, tensors[k])] == []
        images = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed))
        outputs = expected(images)
        assert not torch.equal(outputs[0], outputs[1]), "the images make no difference: this comparison would be blind"
        torch.testing.assert_close(small(images), outputs, rtol=0, atol=1e-5 * float(outputs.abs().max()))
