"""Channel correlation: images of a class attend to the same channels, images of different classes to others.

After Song, Chang, Ma, Li and Tan, "CC-Loss: Channel Correlation Loss for Image Classification" (ICPR 2020, arXiv
2010.05469): an attention vector per image, Euclidean distances between those of a batch, small within a class and large
between classes. Its formula was not at hand; ours, for features z ``[B, D]``:

    a = σ(W₂ ReLU(W₁ z))                             attention as in squeeze-and-excitation networks, D/16 hidden
    d_ij = ‖a_i − a_j‖ / √D                          in [0, 1], so that one weight suits all widths
    loss = mean_{y_i = y_j, i ≠ j} d_ij − mean_{y_i ≠ y_j} d_ij

In the paper the attention multiplies the channels and stays in the network. Here it hangs beside the classifier, on
the features that this reads: it shapes them in training, and goes when the training ends, so the network that is
pruned and shipped is unchanged.

Limits: a batch without two images of a class has no first mean, one of a single class no second: it is 0 then. Where
attention saturates at 0 or 1 the gradient fades. Time and memory per step grow with B².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.losses.step import Step

REDUCTION, LEAST_HIDDEN = 16, 4
"""Features per hidden unit of the attention, and its fewest hidden units."""

_NEAR = 1e-8
"""Added below the root, whose slope at 0 is infinite: distances below its root, 1e-4, are not told apart."""


class ChannelCorrelation(nn.Module):
    """The term of a training, with the attention's weights.

    Args:
        dimension: D, of the features.
        generator: draws the first weights.
    """

    def __init__(self, dimension: int, generator: torch.Generator) -> None:
        super().__init__()
        hidden = max(LEAST_HIDDEN, dimension // REDUCTION)
        self.squeeze = nn.Parameter(_weights(hidden, dimension, generator))
        self.excite = nn.Parameter(_weights(dimension, hidden, generator))

    def attention(self, features: Tensor) -> Tensor:
        """a of features, both ``[B, D]``."""
        return F.linear(F.relu(F.linear(features, self.squeeze)), self.excite).sigmoid()

    def forward(self, step: Step) -> Tensor:
        """The loss of a batch: a scalar in [−1, 1]."""
        assert step.features is not None
        intra, inter = mean_distances(self.attention(step.features), step.labels)
        return intra - inter


def mean_distances(attention: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The two means above for attention ``[B, D]`` and labels ``[B]``: scalars; 0 where there is no such pair."""
    # Centred: products of large equal parts would swallow small differences.
    a = attention - attention.mean(0).detach()
    squares = a.square().sum(1)
    apart = (squares[:, None] + squares - 2 * a @ a.T).clamp_min(0) / a.shape[1]
    distances = (apart + _NEAR).sqrt()
    same = labels[:, None] == labels
    pairs = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return _mean(distances, pairs), _mean(distances, ~same)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _weights(outputs: int, inputs: int, generator: torch.Generator) -> Tensor:
    """Uniform, with the variance 2 / inputs of He et al. 2015 (arXiv 1502.01852)."""
    bound = math.sqrt(6 / inputs)
    return (2 * torch.rand(outputs, inputs, generator=generator) - 1) * bound
