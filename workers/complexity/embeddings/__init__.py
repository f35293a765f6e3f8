"""Where distances between images are taken, by name: ``EMBEDDINGS["pixels"](images, seed)``.

Each takes uint8 ``[N, C, H, W]`` and a seed and gives standardised float32 ``[N, D]`` on the same device. What a
trained network sees is :func:`network_features`, which takes the network as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from workers.complexity.embeddings.autoencoder import autoencoder, autoencoder_tsne
from workers.complexity.embeddings.network import network_features
from workers.complexity.embeddings.pca import pca
from workers.complexity.embeddings.pixels import pixels
from workers.complexity.embeddings.tsne import tsne

Embed = Callable[..., Tensor]

EMBEDDINGS: Mapping[str, Embed] = MappingProxyType(
    {
        "pixels": pixels,
        "pca": pca,
        "tsne": tsne,
        "autoencoder": autoencoder,
        "autoencoder-tsne": autoencoder_tsne,
    }
)

__all__ = ["EMBEDDINGS", "Embed", "network_features"]
