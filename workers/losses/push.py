"""Push: useful class separation moves into few neurons, so that the others can go.

The deep discriminant objective of Tian, Arbel and Clark, "Grow-Push-Prune" (arXiv 2009.13716), on the utility of their
"Task dependent deep LDA pruning of neural networks" (CVIU 203, 2021, 103154). The papers say what it does (class
separation up, covariances penalised, discriminants aligned with a compact set of neurons) and not its formula. Ours,
on the features x that the classifier reads, with σ_b² and σ_w² the variance of each between and within classes:

    v_j = σ_b²(j) / σ_w²(j)                                   utility of neuron j, its axis taken as a discriminant
    loss = − mean_{j ∈ top} log(1 + v_j)                      separation, of the quarter of the neurons with the most
           + 0.1 · (‖offdiag R_w‖² + ‖offdiag R_b‖²) / D²     R: correlation matrices within and between classes
           + Σ_{j ∉ top} v_j / Σ_j v_j                        alignment: utility outside the top

No eigenproblem is solved, so the gradient exists everywhere. It grows to its full size over the first fifth of a
training.

Limits: a batch holds too few images a class to tell σ_w from nothing, so the scatter is that of the batch together
with the features of the last images before it (8 a class, 1024 in all at most). Those come from the weights of some
steps ago, and no gradient runs through them: the batch's gradient is scaled up to stand for theirs. Beyond some hundred
classes even that is few images a class. What it asks for competes with the labels where classes are hard to tell: then
short trainings lose accuracy by it (see benchmarks/losses.py). Time per step is that of a ``[D, images]`` matrix by its
transpose.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from workers.losses.ramp import ramp
from workers.losses.step import Step

IMAGES_PER_CLASS, MOST_IMAGES = 8, 1024
"""Size of the memory."""

TOP = 0.25
"""Share of the neurons that discriminants are to align with; never fewer than discriminants can be, K − 1."""

COVARIANCE = 0.1
"""Weight of the correlations, relative to separation and alignment."""

FLOOR = 1e-4
"""Least variance within classes, relative to the mean variance of all neurons: a near-dead one separates nothing."""

_NOTHING = 1e-12
"""Least divisor: small beside any variance, and its square is still a number of single precision."""


class Push(nn.Module):
    """The term of a training; its buffers remember the features of earlier images.

    Args:
        dimension: D, of the features.
        classes: K.
    """

    def __init__(self, dimension: int, classes: int) -> None:
        super().__init__()
        self._classes = classes
        size = min(IMAGES_PER_CLASS * classes, MOST_IMAGES)
        self.features: Tensor
        self.labels: Tensor
        self.register_buffer("features", torch.zeros(size, dimension))
        self.register_buffer("labels", torch.full((size,), -1))

    def forward(self, step: Step) -> Tensor:
        """The loss of a batch, a scalar; the batch is remembered."""
        assert step.features is not None
        own = step.features
        # The batch stands for all images that the scatter is of: their gradients, too.
        share = (self.labels >= 0).sum() / len(own)
        scaled = own + share * (own - own.detach())
        features = torch.cat([scaled, self.features.to(own.dtype)])
        labels = torch.cat([step.labels, self.labels])
        loss = push_loss(features, labels, self._classes)
        size = len(self.labels)
        self.features.copy_(features.detach()[:size])
        self.labels.copy_(labels[:size])
        return ramp(step.progress) * loss


def push_loss(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The formula above for features ``[N, D]`` with labels ``[N]``; rows labelled −1 do not count.

    Zero where there are fewer than two images for each class that is present: nothing is known about σ_w then.
    """
    within, between, images, present = scatter(features, labels, classes)
    dimension = features.shape[1]
    v = utility(within.diagonal(), between.diagonal())
    top = min(dimension, max(classes - 1, math.ceil(TOP * dimension)))
    inside = torch.zeros_like(v).scatter(0, v.detach().topk(top).indices, 1.0)
    separation = (inside * v.log1p()).sum() / top
    alignment = ((1 - inside) * v).sum() / v.sum().clamp_min(_NOTHING)
    correlation = (_off_diagonal(within) + _off_diagonal(between)) / dimension**2
    known = (images >= 2 * present).to(v.dtype)
    return known * (COVARIANCE * correlation + alignment - separation)


def scatter(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Covariance within and between classes, each ``[D, D]`` and over the number of images; images; classes present.

    Rows labelled −1 do not count.
    """
    # Shapes do not depend on the values of the labels: nothing here waits for a GPU to tell them.
    member = (labels[:, None] == torch.arange(classes, device=labels.device)).to(features.dtype)
    counts = member.sum(0)
    images = counts.sum()
    share = counts / images.clamp_min(1)
    means = (member.T @ features) / counts.clamp_min(1)[:, None]
    apart = (means - share @ means) * share.sqrt()[:, None]
    residual = (features - member @ means) * member.sum(1, keepdim=True)
    return residual.T @ residual / images.clamp_min(1), apart.T @ apart, images, (counts > 0).sum()


def utility(within: Tensor, between: Tensor, floor: float = FLOOR) -> Tensor:
    """v ``[D]`` of variances within and between classes ``[D]``; 0 for a dead neuron.

    Without ``floor`` and over N images of K classes, v · (N − K) / (K − 1) is the F of a one-way analysis of variance.
    """
    least = floor * (within + between).mean()
    return between / (within + least).clamp_min(_NOTHING)


def _off_diagonal(covariance: Tensor) -> Tensor:
    """Sum of squares off the diagonal of the correlation matrix; a dead neuron correlates with nothing."""
    variance = covariance.diagonal()
    least = FLOOR * variance.mean()
    scale = (variance + least).clamp_min(_NOTHING)
    squares = covariance.square() / scale[:, None] / scale
    return squares.sum() - squares.diagonal().sum()
