"""The training loss's slope at every weight, and the logarithm that sums of slopes are reported in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.proxies.forward import copies, run, weight_names

FLOOR = 1e-12
"""What is smaller counts as this much: a network through which nothing flows has a finite logarithm."""


@torch.inference_mode(False)
def loss_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights of convolutions and linear layers, each with the mean cross-entropy's gradient, shaped alike.

    Batch norms take the statistics of this batch, and gradients flow through them, as in a step of training.
    """
    tensors = copies(network)
    weights = [tensors[name].requires_grad_() for name in weight_names(network)]
    # Clones: a batch that was made in inference mode cannot be kept for a backward pass.
    logits = run(network, images.clone(), tensors=tensors)
    loss = F.cross_entropy(logits, labels.clone())
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return [(weight.detach(), gradient) for weight, gradient in zip(weights, gradients, strict=True)]


def log_scale(total: float) -> float:
    """Natural logarithm of a total ≥ 0, at least log :data:`FLOOR`; infinity and NaN pass through."""
    return math.log(max(total, FLOOR))
