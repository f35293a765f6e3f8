"""How well an image fits what was learnt: scores that fall for images of another kind."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from workers.batches import Tensors
from workers.measure.accuracy import FeatureTap, last_linear, predict


@torch.no_grad()
def log_likelihood(network: nn.Module, data: Tensors, batch_size: int = 256) -> Tensor:
    """max_k log p(x | k) of every image, in nats, float64 ``[N]``, for a network trained with ``loss: l_gm``.

    p(x | k) is the normal density of the features around class k's mean with covariance 1: log p = −d_k − (D/2) log 2π
    (Wan et al., arXiv 1803.02988; see :mod:`workers.losses.large_margin`). A network trained otherwise has no such
    density, and the score says little.

    Raises:
        ValueError: no linear layer ends the network.
    """
    classifier = last_linear(network)
    with FeatureTap(network) as tap:
        predict(network, data, batch_size)
    if classifier is None or tap.features is None:
        raise ValueError("the likelihood is that of a linear classifier's features, and the network has none")
    features, means = tap.features.double(), classifier.weight.double()
    nearest = torch.cdist(features, means, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    return -0.5 * nearest.square() - 0.5 * features.shape[1] * math.log(2 * math.pi)


@torch.no_grad()
def max_softmax(network: nn.Module, data: Tensors, batch_size: int = 256) -> Tensor:
    """The largest of the class probabilities of every image, float64 ``[N]``.

    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples" (ICLR 2017, arXiv
    1610.02136).
    """
    return predict(network, data, batch_size).double().softmax(1).amax(1)


def detection(inside: Tensor, outside: Tensor) -> float:
    """AUROC: the probability that an image of the right kind scores above one of another kind, a tie counting half.

    Args:
        inside: scores ``[N]`` of images of the kind that was learnt.
        outside: scores ``[M]`` of others.
    """
    ordered = outside.sort().values
    below = torch.searchsorted(ordered, inside), torch.searchsorted(ordered, inside, right=True)
    return float((below[0] + below[1]).double().mean()) / (2 * len(outside))
