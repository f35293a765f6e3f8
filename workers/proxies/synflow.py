"""SynFlow: how much flows through the network along all its paths, whatever the data.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020
(arXiv 2006.05467), eq. 2, summed over the network as in Abdelfattah et al., ICLR 2021 (arXiv 2101.08134).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.proxies.forward import copies, run, weight_names
from workers.proxies.gradients import log_scale


def score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """``log Σ |w| · ∂R/∂|w|`` over the weights of convolutions and linear layers. Of ``images`` only the shape counts.

    A logarithm: flow grows by a factor with every layer, so that sums span hundreds of orders of magnitude; the sum
    itself is computed in float64 for the same reason.
    """
    return log_scale(float(torch.stack(list(flows(network, images.shape[1:]).values())).sum()))


@torch.inference_mode(False)
def flows(network: nn.Module, shape: torch.Size) -> dict[str, Tensor]:
    """``Σ |w| · ∂R/∂|w|`` of every weight, float64 scalars by name.

    R is the sum of the outputs for one image of ones of ``shape`` ``[C, H, W]``, with all parameters replaced by their
    absolute values and normalisation off.
    """
    names = weight_names(network)
    tensors = copies(network, torch.float64)
    for name, _ in network.named_parameters():
        tensors[name].abs_()
    weights = [tensors[name].requires_grad_() for name in names]
    ones = torch.ones(1, *shape, dtype=torch.float64, device=weights[0].device)
    output = run(network, ones, norm=None, tensors=tensors)
    gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True, materialize_grads=True)
    return {
        name: (weight.detach() * gradient).sum()
        for name, weight, gradient in zip(names, weights, gradients, strict=True)
    }
