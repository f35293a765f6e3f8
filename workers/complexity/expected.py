"""The test error to expect of a small network on a data set, from class overlap alone: a calibrated guess.

print(expected_error(measure_figures(images, labels, seed=0)))

Fitted to the data sets of ``benchmarks/csg_value.py``, which prints the coefficients and how far off the fit is on
sources that it has not seen: 0.06 on average, but its figures were chosen with all sources in sight. Where the choice
is left to the other sources as well, a single figure is 0.09 off.

CSG depends on N, k and the embedding: figures must be measured as they were there, which :func:`measure_figures` does.
The networks were trained on 1,000 images of 16 × 16 for ten epochs; the guess ranks data sets and tells easy from hard,
a larger network on all images will do better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional as F

from spaces.randomness import torch_generator
from workers.complexity.csg import csg_interval
from workers.complexity.embeddings import EMBEDDINGS

IMAGES = 1000
SIDE = 16
NEIGHBOURS = 3
SAMPLES = 100
REPEATS = 3

CONSTANT, COMPONENTS, PATCHES = -0.2495, 0.5947, 0.6789
"""Of the fit in angles; ``benchmarks/csg_value.py`` prints them."""

DEVIATION = 0.1314
"""Root mean squared residual in angles on sources left out of the fit; ``benchmarks/csg_value.py`` prints it."""

_SCORES = [NormalDist().inv_cdf((i + 0.5) / 64) for i in range(64)]


@dataclass(frozen=True)
class Figures:
    """:attr:`workers.complexity.csg.CsgInterval.confusion` without volume, in [0, 1], in two embeddings.

    Attributes:
        components: in the 32 leading principal components of the pixels.
        patches: in the pooled responses to patches.
    """

    components: float
    patches: float


@dataclass(frozen=True)
class ExpectedError:
    """Test error in [0, 1] and the bounds of its 95 % interval."""

    error: float
    low: float
    high: float


def expected_error(figures: Figures) -> ExpectedError:
    """Mean test error of three small networks: angle(error) is linear in the figures' angles.

    The interval is two deviations to either side, the deviation being that on sources left out of the fit. The error is
    the mean over what it may be so, which is not 0 where the fit is: there it can only be greater.
    """
    middle = max(0.0, CONSTANT + COMPONENTS * angle(figures.components) + PATCHES * angle(figures.patches))
    mean = sum(share(middle + DEVIATION * score) for score in _SCORES) / len(_SCORES)
    return ExpectedError(mean, share(middle - 2 * DEVIATION), share(middle + 2 * DEVIATION))


def measure_figures(images: Tensor, labels: Tensor, seed: int) -> Figures:
    """Figures of 1,000 random images, resized to 16 × 16, as the fit's were measured.

    Args:
        images: uint8 ``[N, C, H, W]``, N at least 1,000.
        labels: int64 ``[N]``.
        seed: of the images and samples drawn.

    Raises:
        ValueError: fewer than 1,000 images, or only one class among those drawn.
    """
    if len(images) < IMAGES:
        raise ValueError(f"{len(images)} images: the guess is calibrated on {IMAGES:,}, and overlap depends on it")
    rows = torch.randperm(len(images), generator=torch_generator(seed, "expected", "images"))[:IMAGES].to(images.device)
    chosen, classes = _resized(images[rows]), labels[rows]

    def confusion(embedding: str) -> float:
        points = EMBEDDINGS[embedding](chosen, seed)
        return csg_interval(points, classes, seed, REPEATS, SAMPLES, NEIGHBOURS, volume=False).confusion

    return Figures(confusion("pca"), confusion("patches"))


def angle(proportion: float) -> float:
    """``arcsin √p``, in which the spread of an observed share hardly depends on it; p is kept within [0, 1]."""
    return math.asin(math.sqrt(min(max(proportion, 0.0), 1.0)))


def share(turned: float) -> float:
    """The proportion of an angle, which is kept within [0, π/2]: the inverse of :func:`angle`."""
    return math.sin(min(max(turned, 0.0), math.pi / 2)) ** 2


def _resized(images: Tensor) -> Tensor:
    if images.shape[2:] == (SIDE, SIDE):
        return images
    smaller = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return smaller.round().clamp(0, 255).byte()
