"""Growing an Inception network by modules without changing what it computes.

A grown module stands at the end of a stage. Three of its branches start as an exact identity of the stage's output
(1×1 and centred 3×3 Dirac kernels, batch norms that undo themselves); its pooling branch is new, and whoever reads it
starts with zero weights there. So a grown network begins where its parent stood, and training decides what the new
capacity is for. After Chen et al., "Net2Net", ICLR 2016 (arXiv 1511.05641), for concatenating modules.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
    adopt(grown, network)
    if isinstance(network, Inception):
        new = new_modules(grown, network)
        for name in new:
            _become_identity(_module(grown, name))
        settle_norms(grown, new, images)
    return grown.eval()


def new_modules(grown: nn.Module, parent: nn.Module) -> list[str]:
    """Names of the modules that growth added to ``parent``."""
    old = dict(parent.named_modules())
    return [name for name, m in grown.named_modules() if isinstance(m, InceptionModule) and name not in old]


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


@torch.no_grad()
def adopt(grown: nn.Module, parent: nn.Module) -> None:
    """Copy every tensor of the parent into ``grown``; inputs that the parent did not have get zero weights."""
    own = grown.state_dict()
    for name, value in parent.state_dict().items():
        target = own[name]
        if target.shape == value.shape:
            target.copy_(value)
        else:
            target.zero_()
            target[:, : value.shape[1]] = value


def carried(module: nn.Module) -> dict[str, range]:
    """Per convolution of a grown module's identity branches (its name in ``module``), which inputs its outputs are."""
    assert isinstance(module, InceptionModule)
    return {f"{name}.conv": sources for name, _, sources in _identity_units(module)}


def _identity_units(module: InceptionModule) -> Iterator[tuple[str, ConvUnit, range]]:
    start = 0
    for branch in ("one", "three", "five"):
        units = [(n, u) for n, u in module.named_modules() if n.split(".")[0] == branch and isinstance(u, ConvUnit)]
        width = units[-1][1].conv.out_channels
        yield from ((name, unit, range(start, start + width)) for name, unit in units)
        start += width


@torch.no_grad()
def _become_identity(module: InceptionModule) -> None:
    for name, unit, sources in _identity_units(module):
        kernel = unit.conv.weight.zero_()
        middle = kernel.shape[-1] // 2
        reads_input = name in ("one", "three.0", "five.0")
        for channel, source in enumerate(sources):
            kernel[channel, source if reads_input else channel, middle, middle] = 1


def _module(network: nn.Module, name: str) -> InceptionModule:
    module = network.get_submodule(name)
    assert isinstance(module, InceptionModule)
    return module


@torch.no_grad()
def settle_norms(grown: nn.Module, new: list[str], images: Tensor) -> None:
    """Give the batch norms of the modules called ``new`` the statistics of their inputs on ``images``.

    Those of identity branches undo their own scaling. The network is left in eval mode.
    """
    modules = [_module(grown, name) for name in new]
    fresh = [unit.norm for module in modules for unit in module.modules() if isinstance(unit, ConvUnit)]
    pools = {module.pool.norm for module in modules}

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
