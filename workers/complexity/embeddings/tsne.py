"""t-SNE in two or three dimensions, where neighbourhoods have volumes that mean something."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.randomness import seed_for
from workers.complexity.embeddings.pca import project
from workers.complexity.embeddings.standardise import standardise

MAX_IMAGES = 10_000
"""Most points that are embedded: a map cannot take in points later, and time grows with N log N."""

_DIMENSIONS_BEFORE = 50


def tsne(images: Tensor, seed: int, components: int = 2, iterations: int = 1000) -> Tensor:
    """t-SNE of the pixels of uint8 ``[N, C, H, W]``, standardised: float32 ``[N, components]``.

    Raises:
        ValueError: more than :data:`MAX_IMAGES` images, fewer than 5, or components other than 2 and 3.
    """
    return tsne_of(images.flatten(1).float() / 255, seed, components, iterations)


def tsne_of(features: Tensor, seed: int, components: int = 2, iterations: int = 1000) -> Tensor:
    """t-SNE (van der Maaten & Hinton, JMLR 2008; scikit-learn's, perplexity 30) of features ``[N, D]``.

    Features are first projected on their 50 leading principal components, as its authors do. The map
    starts from two or three of them, so the seed matters little.
    """
    if not 5 <= len(features) <= MAX_IMAGES:
        raise ValueError(f"t-SNE of {len(features)} images: give 5 to {MAX_IMAGES:,}, drawn at random from more")
    if components not in (2, 3):
        raise ValueError(f"t-SNE in {components} dimensions: give 2 or 3")
    from sklearn.manifold import TSNE  # slow to import, and other embeddings do without

    reduced = project(features, _DIMENSIONS_BEFORE)
    model = TSNE(
        n_components=components,
        perplexity=min(30.0, (len(features) - 1) / 3),
        init="pca",
        max_iter=iterations,
        random_state=seed_for(seed, "tsne") % 2**32,
    )
    found = torch.from_numpy(model.fit_transform(reduced.float().cpu().numpy()))
    return standardise(found.to(features.device))
