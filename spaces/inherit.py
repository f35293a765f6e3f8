"""A child that goes on from its parent's weights: pruned further, grown by modules, or as it is.

Growth keeps the parent's function: the grown module's identity branches carry just the channels that the parent kept,
and whoever reads its new pooling branch starts with zero weights there (see :mod:`spaces.growth`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from spaces.blend import keep_channels
from spaces.foundation import Candidate, Foundation
from spaces.genome import Genome
from spaces.growth import Growth, adopt, carried, new_modules, settle_norms
from spaces.surgery import expand, make_plan

KeptChannels = Mapping[str, np.ndarray]
"""Per group name, the channels of the trunk that are kept, ascending."""


@dataclass(frozen=True)
class Parent:
    """A trained candidate: its growth, the channels it kept of its trunk, and its compact network."""

    growth: Growth
    kept: KeptChannels
    network: nn.Module


def kept_by_child(foundation: Foundation, genome: Genome, growth: Growth, kept: KeptChannels) -> dict[str, np.ndarray]:
    """Per group, the channels that the child ``genome`` keeps of a parent's ``kept`` at the genome's widths.

    Of the parent's groups its blend chooses; of those that growth adds, what carries the parent's channels goes first.

    Raises:
        ValueError: a group of the parent would become wider, or the parent was grown where the child is not.
    """
    trunk = foundation.trunk(genome)
    if len(growth) != len(genome.growth) or any(g < p for g, p in zip(genome.growth, growth, strict=True)):
        raise ValueError(f"a child grown by {genome.growth} cannot inherit from a parent grown by {growth}")
    first = carrying(foundation, genome.growth, growth, kept)
    chosen = {}
    for name, width in zip(trunk.layout.names, foundation.space.widths(genome).tolist(), strict=True):
        ranks, weights = trunk.ranks[name], genome.blend[foundation.space.clusters[name]]
        if name in kept:
            if width > len(kept[name]):
                raise ValueError(f"{name}: a child of {width} channels cannot inherit from {len(kept[name])}")
            chosen[name] = kept[name][keep_channels(ranks[:, kept[name]], weights, width)]
        else:
            rest = np.setdiff1d(np.arange(ranks.shape[1]), first[name])
            chosen[name] = np.sort(np.concatenate([first[name], rest])[:width])
    return chosen


def carrying(foundation: Foundation, growth: Growth, before: Growth, kept: KeptChannels) -> dict[str, np.ndarray]:
    """Per group that growing from ``before`` to ``growth`` adds, the channels that carry what the parent kept.

    At least one channel each; of a new pooling branch, which carries nothing, all.
    """
    if growth == before:
        return {}
    trunk, old = foundation.trunks[growth], foundation.trunks[before]
    groups = {group.producers()[0].layer: group for group in trunk.layout.groups}
    found: dict[str, np.ndarray] = {}
    for name in new_modules(trunk.network, old.network):
        # The next new module reads this one, so what was found for it decides there.
        alive = trunk.layout.alive({**kept, **found})
        owners = trunk.layout.owners.get((f"{name}.one.conv", "in"))
        for conv, sources in carried(trunk.network.get_submodule(name)).items():
            group = groups.get(f"{name}.{conv}")
            if group is None:
                continue  # locked: it stays whole
            carries = [i for i, s in enumerate(sources) if owners is None or alive[owners[s]]]
            found[group.name] = np.array(carries or [0], dtype=np.int64)
    added = [group for group in trunk.layout.groups if group.name not in kept]
    return {group.name: found.get(group.name, np.arange(group.size)) for group in added}


def inherit(foundation: Foundation, genome: Genome, parent: Parent, images: Tensor) -> Candidate:
    """The child ``genome`` with its parent's weights, in eval mode.

    Args:
        parent: its network is left as it is.
        images: normalised float ``[N, C, H, W]``, from which the batch norms of grown modules take their statistics.

    Raises:
        ValueError: see :func:`kept_by_child`.
    """
    kept = kept_by_child(foundation, genome, parent.growth, parent.kept)
    before, trunk = foundation.trunks[parent.growth], foundation.trunk(genome)
    full = expand(parent.network, before.network, before.layout, parent.kept)
    if genome.growth != parent.growth:
        grown = copy.deepcopy(trunk.network)
        adopt(grown, full)
        full = grown
    network = make_plan(full, trunk.layout).compact(kept).eval()
    if genome.growth != parent.growth:
        settle_norms(network, new_modules(trunk.network, before.network), images)
    return Candidate(genome, network, kept)
