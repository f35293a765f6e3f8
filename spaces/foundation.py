"""All that turns a genome into a network: the space, and for each growth the trained base network with its ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import nn

from spaces.blend import select
from spaces.compensate import Compensation, make_compensation
from spaces.condense import cluster_criteria
from spaces.genome import Genome
from spaces.growth import Growth
from spaces.input_moments import Inputs
from spaces.layout import Layout
from spaces.space import Space
from spaces.surgery import Plan, make_plan


@dataclass(frozen=True)
class Trunk:
    """One growth of the base network, scored.

    Attributes:
        network: trained, eval mode; never changed.
        layout: its groups and layers.
        ranks: per group, float ``[criteria, size]`` in [0, 1] (see :func:`spaces.blend.ranks`).
        moments: of what its layers read: candidates are compensated by them; ``None`` for plain pruning.
    """

    network: nn.Module
    layout: Layout
    ranks: Mapping[str, np.ndarray]
    moments: tuple[Inputs, ...] | None = None

    @cached_property
    def plan(self) -> Plan:
        """What all selections of the network's channels have in common."""
        return make_plan(self.network, self.layout)

    @cached_property
    def compensation(self) -> Compensation | None:
        """Likewise of what makes up for the channels that go."""
        return None if self.moments is None else make_compensation(self.network, self.layout, self.moments)


@dataclass(frozen=True)
class Candidate:
    """A genome with its network, and the channels that the network keeps of its trunk."""

    genome: Genome
    network: nn.Module
    kept: Mapping[str, np.ndarray]

    @property
    def widths(self) -> dict[str, int]:
        """Channels per group."""
        return {name: len(channels) for name, channels in self.kept.items()}


@dataclass(frozen=True)
class Foundation:
    """The space and its trunks. Built once per run, shared by all workers."""

    space: Space
    trunks: Mapping[Growth, Trunk]

    def trunk(self, genome: Genome) -> Trunk:
        """The grown base network that ``genome`` prunes."""
        return self.trunks[genome.growth]

    def kept(self, genome: Genome) -> dict[str, np.ndarray]:
        """Per group, the channels that the genome's blend keeps at the genome's widths."""
        trunk = self.trunk(genome)
        names = trunk.layout.names
        widths = dict(zip(names, self.space.widths(genome).tolist(), strict=True))
        weights = {name: genome.blend[self.space.clusters[name]] for name in names}
        return select(trunk.ranks, weights, widths)

    def build(self, genome: Genome) -> Candidate:
        """The candidate: a compact network that inherits the weights of what it keeps, compensated if trunks are."""
        trunk, kept = self.trunk(genome), self.kept(genome)
        network = trunk.plan.compact(kept)
        if trunk.compensation is not None:
            trunk.compensation.apply(network, kept)
        return Candidate(genome, network, kept)


def condensed(space: Space, trunks: Mapping[Growth, Trunk], count: int) -> Space:
    """``space``, in which a blend weighs one criterion of each of ``count`` clusters of alike ones.

    Criteria are clustered for each cluster of groups by itself (:func:`spaces.condense.cluster_criteria`).
    """
    tables: dict[str, np.ndarray] = {}
    for growth in sorted(trunks):
        for name, table in trunks[growth].ranks.items():
            tables.setdefault(name, table)
    rows = [[tables[name] for name in space.groups if space.clusters[name] == row] for row in range(space.blends)]
    return replace(space, kinds=tuple(cluster_criteria(row, count) for row in rows))


def clusters_of(layouts: Mapping[Growth, Layout], by: str) -> dict[str, int]:
    """Per group name, the cluster whose blend it shares.

    ``network``: one for all; ``stage``: one per resolution (output pixels of the first producer, large to small);
    ``group``: one each.
    """
    positions: dict[str, int] = {}
    for growth in sorted(layouts):
        layers = {layer.name: layer for layer in layouts[growth].layers}
        for group in layouts[growth].groups:
            positions.setdefault(group.name, layers[group.producers()[0].layer].positions)
    if by == "network":
        return dict.fromkeys(positions, 0)
    if by == "group":
        return {name: i for i, name in enumerate(positions)}
    order = {p: i for i, p in enumerate(sorted(set(positions.values()), reverse=True))}
    return {name: order[p] for name, p in positions.items()}
