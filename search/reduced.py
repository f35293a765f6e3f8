"""How many training images a probe needs: the smallest part of the data set on which the classes overlap as on all.

After the data set reduction of Branchaud-Charron, Achkar & Jodoin, CVPR 2019 (arXiv 1905.07299).
"""

from __future__ import annotations

import numpy as np
import torch

from workers.complexity.embeddings import DEFAULT, EMBEDDINGS
from workers.complexity.reduction import reduce_data
from workers.data import Images

LOOKED_AT = 2000
"""Most training images that are embedded; they stand in random order."""

LEAST, MOST = 256, 2000
"""A probe's batch norms and its ridge refit want some hundreds of images, however easy the classes are."""

REPEATS = 5


def advised_images(train: Images, seed: int) -> int:
    """Training images for a probe, at least :data:`LEAST` where there are as many."""
    if len(train) <= LEAST:
        return len(train)
    seen = train.subset(np.arange(min(LOOKED_AT, len(train))))
    labels = torch.from_numpy(seen.labels)
    embedding = EMBEDDINGS[DEFAULT](torch.from_numpy(seen.images), seed)
    advised = reduce_data(embedding, labels, seed, REPEATS, volume=False).advised
    return min(max(LEAST, advised), MOST, len(train))
