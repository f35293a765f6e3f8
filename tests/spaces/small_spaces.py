"""A small Inception network that grows, its spaces, and foundations with random ranks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from hypothesis import strategies as st
from surgery_networks import lively

from spaces.budget import Budget
from spaces.foundation import Foundation, Trunk, clusters_of
from spaces.growth import Growth, grow, growths
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.space import Space

SHAPE = (2, 8, 8)
CRITERIA = ("l1", "taylor", "fpgm")
SEEDS = st.integers(0, 2**32 - 1)


@lru_cache(maxsize=1)
def trunks() -> dict[Growth, Trunk]:
    """Two stages that grow by up to one module each, in float64, with random ranks full of ties."""
    spec = NetworkSpec("inception", SHAPE, 5, {"stem": 13, "widths": [22, 29], "modules": [1, 1]})
    base = lively(build_network(spec, torch.Generator().manual_seed(1)), SHAPE)
    images = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rng = np.random.default_rng(3)
    found = {}
    for growth in growths(base, 1):
        network = grow(base, growth, images)
        layout = make_layout(network, images)
        ranks = {g.name: rng.integers(0, 5, (len(CRITERIA), g.size)) / 4 for g in layout.groups}
        found[growth] = Trunk(network, layout, ranks)
    return found


def layouts() -> dict[Growth, Layout]:
    """The layout of each growth."""
    return {growth: trunk.layout for growth, trunk in trunks().items()}


def space_with(
    budget: Budget | None = None, by: str = "stage", kinds: tuple[int, ...] | None = None, **bounds: float
) -> Space:
    """A space over :func:`trunks`; all blends have the same ``kinds``."""
    space = Space(layouts(), CRITERIA, clusters_of(layouts(), by), budget or Budget(), **bounds)  # type: ignore[arg-type]
    return space if kinds is None else replace(space, kinds=(kinds,) * space.blends)


def foundation_with(**settings: object) -> Foundation:
    """A foundation over :func:`trunks`."""
    return Foundation(space_with(**settings), trunks())  # type: ignore[arg-type]


def share_of(share: float, measure: str) -> Budget:
    """A budget of a share of the ungrown network's cost."""
    base = layouts()[0, 0]
    return Budget(**{measure: int(share * getattr(base.cost(base.full()), measure))})


BUDGETS = st.none() | st.builds(share_of, st.floats(0.1, 1.2), st.sampled_from(["params", "macs", "bytes"]))
SPACES = st.builds(
    space_with,
    BUDGETS,
    st.sampled_from(["network", "stage", "group"]),
    st.sampled_from([None, (0, 1, 0), (0, 0, 0), (0, -1, 1), (-1, -1, -1)]),
    min_keep=st.sampled_from([0.05, 0.12345, 0.5]),
    min_width=st.sampled_from([0.1, 0.33333]),
    round_to=st.sampled_from([1, 2, 3, 4, 8]),
    mutation=st.sampled_from([0.02, 0.3, 1.0]),
)
