"""Where distances between images are taken, by name: ``EMBEDDINGS["pixels"](images, seed)``.

Each takes uint8 ``[N, C, H, W]`` and a seed and gives standardised float32 ``[N, D]`` on the same device. What a
trained network sees is :func:`network_features`, which takes the network as well.

The default for data sets is ``patches``, without volume: of all here its ``confusion`` follows the test error of small
networks most closely (``benchmarks/csg_value.py``: Pearson 0.92 over 31 data sets; 1-nearest-neighbour error 0.88), at
half a second per 1,000 images. ``pca`` is as good within the interval and many times faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from workers.complexity.embeddings.autoencoder import autoencoder, autoencoder_tsne
from workers.complexity.embeddings.network import network_features
from workers.complexity.embeddings.patches import patches
from workers.complexity.embeddings.pca import pca
from workers.complexity.embeddings.pixels import pixels
from workers.complexity.embeddings.tsne import tsne

Embed = Callable[..., Tensor]

EMBEDDINGS: Mapping[str, Embed] = MappingProxyType(
    {
        "pixels": pixels,
        "pca": pca,
        "patches": patches,
        "tsne": tsne,
        "autoencoder": autoencoder,
        "autoencoder-tsne": autoencoder_tsne,
    }
)

DEFAULT = "patches"

__all__ = ["DEFAULT", "EMBEDDINGS", "Embed", "network_features"]
