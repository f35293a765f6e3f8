"""How surely a network's own scores tell images of the kind it learnt from images of another kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from spaces.randomness import torch_generator
from workers.batches import Tensors
from workers.measure.likelihood import detection, log_likelihood, max_softmax


@dataclass(frozen=True)
class Detection:
    """AUROC of two scores, in [0, 1]; 0.5 tells nothing.

    Attributes:
        likelihood: of :func:`workers.measure.likelihood.log_likelihood`.
        softmax: of the largest class probability.
    """

    likelihood: float
    softmax: float


def measure_detection(network: nn.Module, test: Tensors) -> dict[str, Detection]:
    """By kind of image, for a network trained with ``loss: l_gm``.

    Args:
        network: in eval mode, where ``test`` is; ends in a linear layer.
        test: images of the kind that was learnt.
    """
    inside = log_likelihood(network, test), max_softmax(network, test)
    found = {}
    for kind, images in other_kinds(test).items():
        outside = log_likelihood(network, images), max_softmax(network, images)
        found[kind] = Detection(*map(detection, inside, outside))
    return found


def other_kinds(test: Tensors, seed: int = 0) -> dict[str, Tensors]:
    """As many images as ``test`` has of uniform noise, and ``test`` with the pixels of each image permuted."""
    count, channels, height, width = test.images.shape
    generator = torch_generator(seed, "noise")
    noise = torch.randint(0, 256, test.images.shape, generator=generator, dtype=torch.uint8)
    generator = torch_generator(seed, "permuted")
    orders = torch.stack([torch.randperm(height * width, generator=generator) for _ in range(count)])
    pixels = test.images.cpu().flatten(2)
    permuted = pixels.gather(2, orders[:, None].expand(-1, channels, -1)).view_as(test.images)
    device = test.images.device
    return {
        "uniform noise": replace(test, images=noise.to(device)),
        "permuted pixels": replace(test, images=permuted.to(device)),
    }
