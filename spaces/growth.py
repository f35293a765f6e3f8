"""Growing an Inception network by modules without changing what it computes.

A grown module stands at the end of a stage. Three of its branches start as an exact identity of the stage's output
(1×1 and centred 3×3 Dirac kernels, batch norms that undo themselves); its pooling branch is new, and whoever reads it
starts with zero weights there. So a grown network begins where its parent stood, and training decides what the new
capacity is for. After Chen et al., "Net2Net", ICLR 2016 (arXiv 1511.05641), for concatenating modules.
"""

from __future__ import annotations

import copy
from itertools import product

import torch
from torch import Tensor, nn

from spaces.networks.inception import ConvUnit, Inception, InceptionModule, ModuleSpec

Growth = tuple[int, ...]


def growths(network: nn.Module, most: int) -> tuple[Growth, ...]:
    """All growth vectors of up to ``most`` modules per stage; ``((),)`` where the network cannot grow."""
    if not isinstance(network, Inception):
        return ((),)
    return tuple(product(range(most + 1), repeat=len(network.stages)))


def grow(network: nn.Module, growth: Growth, images: Tensor) -> nn.Module:
    """A copy of ``network`` with ``growth[s]`` more modules in stage ``s``, computing the same function.

    Args:
        network: trained; left as it is.
        growth: modules to add per stage; all zero or empty gives a plain copy.
        images: normalised float ``[N, C, H, W]``: new batch norms take their statistics from them, so that
            recalibration does not disturb the identity.

    Raises:
        ValueError: the network cannot grow, or ``growth`` has another number of stages.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the new pooling branches' first weights: the same wherever the network is grown
        grown = grow_structure(network, growth)
    grown.to(next(network.parameters()))
    _inherit(grown, network)
    if isinstance(network, Inception) and isinstance(grown, Inception):
        new = [
            module
            for stage, old in zip(grown.stages, network.stages, strict=True)
            for module in list(stage.children())[len(list(old.children())) :]
            if isinstance(module, InceptionModule)
        ]
        for module in new:
            _become_identity(module)
        _settle_norms(grown, new, images)
    return grown.eval()


def grow_structure(network: nn.Module, growth: Growth) -> nn.Module:
    """The grown network with fresh weights: its structure alone."""
    if not isinstance(network, Inception):
        if any(growth):
            raise ValueError(f"{type(network).__name__} cannot grow; only inception networks can (space.growth: 0)")
        return copy.deepcopy(network)
    if len(growth) != len(network.stages):
        raise ValueError(f"growth {growth} names {len(growth)} stages, the network has {len(network.stages)}")
    stages: list[list[ModuleSpec]] = []
    for specs, more in zip(network.specs, growth, strict=True):
        stage = list(specs)
        for _ in range(more):
            stage.append(_identity_spec(stage[-1].outputs))
        stages.append(stage)
    channels, stem = network.stem.conv.in_channels, network.stem.conv.out_channels
    return Inception(channels, network.classifier.out_features, stem, stages).eval()


def _identity_spec(width: int) -> ModuleSpec:
    """Branches that together can carry ``width`` channels unchanged, and a pooling branch beside them."""
    quarter = max(1, width // 4)
    return ModuleSpec(width - 2 * quarter, (quarter, quarter), (quarter,) * 3, max(1, width // 8))


def _inherit(grown: nn.Module, parent: nn.Module) -> None:
    """Copy every tensor of the parent; inputs that the parent did not have get zero weights."""
    own = grown.state_dict()
    for name, value in parent.state_dict().items():
        target = own[name]
        if target.shape == value.shape:
            target.copy_(value)
        else:
            target.zero_()
            target[:, : value.shape[1]] = value


@torch.no_grad()
def _become_identity(module: InceptionModule) -> None:
    start = 0
    for branch in (module.one, module.three, module.five):
        units = [unit for unit in branch.modules() if isinstance(unit, ConvUnit)]
        width = units[-1].conv.out_channels
        for depth, unit in enumerate(units):
            kernel = unit.conv.weight.zero_()
            middle = kernel.shape[-1] // 2
            for channel in range(width):
                kernel[channel, channel + (start if depth == 0 else 0), middle, middle] = 1
        start += width


@torch.no_grad()
def _settle_norms(grown: Inception, new: list[InceptionModule], images: Tensor) -> None:
    """Give new batch norms the statistics of their inputs; those of identity branches undo their own scaling."""
    fresh = {unit.norm: module for module in new for unit in module.modules() if isinstance(unit, ConvUnit)}
    pools = {module.pool.norm for module in new}

    def settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
        if norm not in pools:
            norm.weight.copy_(torch.sqrt(variance + norm.eps))
            norm.bias.copy_(mean)

    handles = [norm.register_forward_pre_hook(settle) for norm in fresh]
    try:
        grown.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
