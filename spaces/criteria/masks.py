"""Gates learned for every class, as White-Box pruning does, on a network whose weights stay as they are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria.tap import evaluating, hooked
from spaces.layout import Layout

EPOCHS = 2
RATE = 0.1
MOMENTUM = 0.9
PENALTY = 0.01


def train(
    network: nn.Module, layout: Layout, images: Tensor, labels: Tensor, batch_size: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Per group float64 ``[classes, size]``: masks after :data:`EPOCHS` passes of gradient descent, ones at first.

    An image of class y mixes the masks by weights ``v_y = 1`` and ``v_k ~ U(0, 1)``, drawn anew in each epoch and
    divided by their sum: masks of one leave the network as it is. Loss: cross entropy, and :data:`PENALTY` times the
    norm of each group's masks summed over classes.
    """
    device = next(network.parameters()).device
    classes = int(labels.max()) + 1
    ends = torch.tensor([0, *layout.sizes.tolist()]).cumsum(0).tolist()
    total = ends[-1]
    masks = torch.ones(classes, total, dtype=images.dtype, device=device, requires_grad=True)
    # By hand: torch.optim brings the whole of torch's compiler with it.
    velocity = torch.zeros_like(masks)
    gates: list[Tensor] = []
    owners = {
        m.layer: torch.from_numpy(layout.owners[m.layer, "in"]).to(device) for g in layout.groups for m in g.consumers()
    }
    handles = [network.get_submodule(n).register_forward_pre_hook(_gated(gates, o)) for n, o in sorted(owners.items())]
    with hooked(handles), evaluating(network), torch.enable_grad():
        for _ in range(EPOCHS):
            mixing = torch.rand(len(labels), classes, generator=generator, dtype=torch.float64)
            mixing[torch.arange(len(labels)), labels.cpu()] = 1
            mixing /= mixing.sum(dim=1, keepdim=True)
            for rows in torch.split(torch.arange(len(labels)), batch_size):
                mixed = mixing[rows].to(device, masks.dtype) @ masks
                gates[:] = [torch.cat([mixed, mixed.new_ones(len(rows), 1)], dim=1)]
                loss = F.cross_entropy(network(images[rows].to(device)), labels[rows].to(device))
                norms = [masks[:, a:b].sum(dim=0).norm() for a, b in pairwise(ends)]
                (gradient,) = torch.autograd.grad(loss + PENALTY * torch.stack(norms).sum(), [masks])
                with torch.no_grad():
                    velocity.mul_(MOMENTUM).add_(gradient)
                    masks.sub_(RATE * velocity)
    done = masks.detach().to("cpu", torch.float64)
    return {g.name: done[:, a:b].clone() for g, (a, b) in zip(layout.groups, pairwise(ends), strict=True)}


def _gated(gates: list[Tensor], owners: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = args
        gate = gates[0][:, owners]
        others = x.dim() - 2
        shape = (
            (*gate.shape, *[1] * others) if isinstance(module, nn.Conv2d) else (len(gate), *[1] * others, gate.shape[1])
        )
        return (x * gate.reshape(shape), *rest)

    return hook
