"""What a proxy is: a name, a scoring function, and how many images it wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Score = Callable[[nn.Module, Tensor, Tensor, torch.Generator], float]
"""``score(network, images, labels, generator)``: higher promises a more accurate network once it is trained.

Images are float32 ``[N, C, H, W]``, normalised; labels int64 ``[N]``; the network returns logits ``[N, K]`` and is on
the images' device. It is left bit for bit as it was: weights, gradients, buffers, modes and hooks, also on an error.
Randomness comes from ``generator`` (a CPU generator) only. May be called in inference mode, and for networks that were
built in it: gradients are recorded on copies.
"""


@dataclass(frozen=True)
class Proxy:
    """A zero-cost proxy of a network's trained accuracy.

    Attributes:
        name: what configuration and reports call it.
        score: the scoring function.
        batch: images that it wants at once.
        planes: whether :func:`workers.planes.fast_forward` serves it: no gradients, no weights of its own.
    """

    name: str
    score: Score
    batch: int
    planes: bool = False
