"""Candidates leave nothing behind: a worker builds thousands of them in one process.

They are not run here: oneDNN caches up to 1024 kernels by shape, which grows for a while and is no leak.
"""

from __future__ import annotations

import gc

import numpy as np
import psutil
import torch

from spaces.foundation import Foundation, Trunk, clusters_of
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.space import Space

SHAPE = (3, 8, 8)
WARM, MEASURED = 100, 400
MOST_GROWTH = 4 * 2**20
"""Bytes. The weights of 400 candidates are several times as many."""


@torch.no_grad()
def test_five_hundred_candidates_leave_memory_flat() -> None:
    network = build_network(NetworkSpec("inception", SHAPE, 10, {"widths": [64, 96], "modules": [1, 1]}))
    layout = make_layout(network, torch.zeros(2, *SHAPE))
    ranks = {g.name: np.linspace(0, 1, g.size)[None] for g in layout.groups}
    space = Space({(0, 0): layout}, ("l1",), clusters_of({(0, 0): layout}, "stage"), min_keep=0.5, min_width=0.7)
    foundation = Foundation(space, {(0, 0): Trunk(network, layout, ranks)})
    weights = 0

    def build(count: int) -> int:
        nonlocal weights
        for _ in range(count):
            small = foundation.build(space.sample(rng)).network
            weights += sum(p.numel() * p.element_size() for p in small.parameters())
        gc.collect()
        return psutil.Process().memory_info().rss

    rng = np.random.default_rng(0)
    before = build(WARM)
    weights = 0
    assert build(MEASURED) - before < MOST_GROWTH
    assert weights > 4 * MOST_GROWTH, "this test would not see a leak"
