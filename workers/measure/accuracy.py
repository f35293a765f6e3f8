"""Accuracy and loss of a network, and the features that its classifier reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.batches import Tensors
from workers.planes import fast_forward


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy in [0, 1] and mean cross-entropy in nats over a split."""

    accuracy: float
    loss: float


@torch.no_grad()
def measure_accuracy(network: nn.Module, data: Tensors, batch_size: int = 256) -> Accuracy:
    """Accuracy of ``network`` in eval mode over all of ``data``."""
    logits = predict(network, data, batch_size)
    hits = int((logits.argmax(1) == data.labels).sum())
    return Accuracy(hits / len(data), float(F.cross_entropy(logits, data.labels)))


@torch.no_grad()
def predict(network: nn.Module, data: Tensors, batch_size: int = 256) -> Tensor:
    """Logits of ``network`` in eval mode on all of ``data``: float32 ``[N, K]``."""
    network.eval()
    with fast_forward(network, data):
        return torch.cat([network(images).float() for images, _ in data.batches(batch_size)])


def last_linear(network: nn.Module) -> nn.Linear | None:
    """The classifier: the linear layer that was defined last."""
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    return linear[-1] if linear else None


class FeatureTap:
    """Collects what the classifier (the network's last linear layer) reads, while the network runs.

    Use as a context manager; :attr:`features` is float ``[N, D]``, or ``None`` where no linear layer ends the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._layer = last_linear(network)
        self._seen: list[Tensor] = []
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def __enter__(self) -> FeatureTap:
        if self._layer is not None:
            self._handle = self._layer.register_forward_pre_hook(
                lambda _, inputs: self._seen.append(inputs[0].detach())
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    @property
    def features(self) -> Tensor | None:
        return torch.cat(self._seen).flatten(1) if self._seen else None
