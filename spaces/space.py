"""The search space: which genomes there are, how to draw and vary them, and what each costs.

Every operator returns a valid genome: genes within bounds, at least one channel kept in every group, and within
budget (:meth:`Space.repair`). All randomness comes from the generator passed in.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from spaces.budget import Budget
from spaces.calibration import STEP, draw, step, strongest
from spaces.genome import DIGITS, Genome
from spaces.layout import Cost, Layout

Growth = tuple[int, ...]
Blend = tuple[tuple[float, ...], ...]


class InfeasibleBudget(ValueError):
    """No genome of the space meets the budget; the message names the nearest feasible one."""


@dataclass(frozen=True)
class Dimension:
    """One gene as a box for samplers that want plain numbers (Optuna): ``low ≤ value ≤ high``."""

    name: str
    kind: Literal["integer", "real"]
    low: float
    high: float


@dataclass(frozen=True)
class Space:
    """Genomes over the groups of a base network and of its growths.

    Attributes:
        layouts: per growth vector, the layout of the base network grown by it.
        criteria: names of the blended criteria, in the order of a blend's weights.
        clusters: per group name, the index of the cluster whose blend it uses.
        budget: upper bounds on cost.
        min_keep: least keep ratio of a group, in (0, 1].
        min_width: least overall width factor, in (0, 1].
        round_to: widths are multiples of this, or the whole group.
        mutation: probability that a gene mutates.
        kinds: per cluster of groups, the criteria cluster of each criterion, of which a blend weighs but one (see
            :mod:`spaces.condense`); empty where every criterion has a weight of its own.
        varies_ratios: whether growth, width and keep ratios are searched; else they are uniform and as wide as the
            budget lets them, and blends alone are.
    """

    layouts: Mapping[Growth, Layout]
    criteria: tuple[str, ...]
    clusters: Mapping[str, int]
    budget: Budget = field(default_factory=Budget)
    min_keep: float = 0.05
    min_width: float = 0.1
    round_to: int = 1
    mutation: float = 0.1
    kinds: tuple[tuple[int, ...], ...] = ()
    varies_ratios: bool = True

    @property
    def ungrown(self) -> Layout:
        """The base network's own layout."""
        return self.layouts[min(self.layouts)]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of all groups of all growths, in a fixed order: the order of ``Genome.keep``."""
        names: dict[str, None] = {}
        for growth in sorted(self.layouts):
            names.update(dict.fromkeys(self.layouts[growth].names))
        return tuple(names)

    @cached_property
    def _columns(self) -> dict[Growth, np.ndarray]:
        place = {name: i for i, name in enumerate(self.groups)}
        return {g: np.array([place[n] for n in layout.names], dtype=np.int64) for g, layout in self.layouts.items()}

    @cached_property
    def blends(self) -> int:
        """Number of clusters."""
        return max(self.clusters.values(), default=-1) + 1

    @cached_property
    def max_growth(self) -> Growth:
        """Most modules per stage."""
        return tuple(int(m) for m in np.max(list(self.layouts), axis=0)) if any(self.layouts) else ()

    @cached_property
    def hash(self) -> str:
        """Content hash of everything that gives a genome its meaning; a resumed run must have the same."""
        content = {
            "layouts": {
                str(growth): [
                    [(group.name, group.size) for group in layout.groups],
                    [astuple(layer) for layer in layout.layers],
                    layout.other_params,
                    layout.other_buffers,
                ]
                for growth, layout in sorted(self.layouts.items())
            },
            "criteria": self.criteria,
            "clusters": sorted(self.clusters.items()),
            "budget": self.budget.limits(),
            "bounds": [self.min_keep, self.min_width, self.round_to, self.mutation],
        }
        if self.kinds or not self.varies_ratios:
            content["blending"] = [self.kinds, self.varies_ratios]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def layout(self, genome: Genome) -> Layout:
        """The layout of the base network that ``genome`` prunes."""
        return self.layouts[genome.growth]

    def widths(self, genome: Genome) -> np.ndarray:
        """Channels kept per group of :meth:`layout`, int64 ``[G]``, each in ``1 … size``."""
        return self._widths(genome.growth, genome.width, np.asarray(genome.keep))

    def _widths(self, growth: Growth, width: float, keep: np.ndarray) -> np.ndarray:
        sizes = self.layouts[growth].sizes
        wanted = sizes * keep[self._columns[growth]] * width
        step = np.minimum(self.round_to, sizes)
        most = sizes // step * step
        rounded = np.clip(np.round(wanted / step).astype(np.int64) * step, step, most)
        return np.asarray(np.where(sizes - wanted < wanted - most, sizes, rounded))

    def cost(self, genome: Genome) -> Cost:
        """Exact cost of the candidate, without building it."""
        return self.layout(genome).cost(self.widths(genome))

    def least(self) -> Genome:
        """The smallest genome there is."""
        return self._uniform(tuple(0 for _ in self.max_growth), self.min_width, self.min_keep)

    def uniform(self, keep: float, weights: tuple[float, ...] | None = None, growth: Growth | None = None) -> Genome:
        """All groups at the same keep ratio, one blend everywhere: equal weights by default.

        As far as ``kinds`` let it: of each criteria cluster the greatest weight stays, of equals the first.
        """
        return self._uniform(growth or tuple(0 for _ in self.max_growth), 1.0, keep, weights)

    def _uniform(self, growth: Growth, width: float, keep: float, weights: tuple[float, ...] | None = None) -> Genome:
        row = weights or tuple(1.0 for _ in self.criteria)
        return self.normalise(Genome(growth, width, (keep,) * len(self.groups), (row,) * self.blends))

    def sample(self, rng: np.random.Generator) -> Genome:
        """A genome within budget: widths spread evenly over orders of magnitude, blends uniform on the simplex."""
        if not self.varies_ratios:
            return self.repair(replace(self.uniform(1.0), blend=self.drawn_blend(rng)))
        growth = tuple(int(rng.integers(0, m + 1)) for m in self.max_growth)
        width = float(np.exp(rng.uniform(np.log(self.min_width), 0.0)))
        keep = rng.uniform(self.min_keep, 1.0, len(self.groups))
        return self.repair(Genome(growth, width, tuple(keep), self.drawn_blend(rng)))

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """A changed copy: steps on ratios and blends, a module more or less, a scaled width; at least one gene."""
        if not self.varies_ratios:
            return self.repair(replace(genome, blend=self.stepped_blend(genome, rng)))
        count = len(self.groups)
        hit = rng.random(count) < self.mutation
        hit[rng.integers(count)] = True
        keep = np.asarray(genome.keep) * np.where(hit, np.exp(rng.normal(0.0, 0.4, count)), 1.0)
        # A step across a bound is turned back, or genes at their bound would mostly stay as they are.
        keep = np.where(keep > 1.0, 1.0 / keep, np.where(keep < self.min_keep, self.min_keep**2 / keep, keep))
        blend = self.stepped_blend(genome, rng)
        growth = list(genome.growth)
        if growth and rng.random() < self.mutation:
            stage = int(rng.integers(len(growth)))
            growth[stage] = int(np.clip(growth[stage] + rng.choice((-1, 1)), 0, self.max_growth[stage]))
        width = genome.width * (float(np.exp(rng.normal(0.0, 0.3))) if rng.random() < 0.3 else 1.0)
        return self.repair(Genome(tuple(growth), width, tuple(keep), blend))

    def drawn_blend(self, rng: np.random.Generator) -> Blend:
        """A blend drawn anew for every cluster; to be normalised."""
        if not self.kinds:
            return tuple(map(tuple, rng.dirichlet(np.ones(len(self.criteria)), self.blends)))
        return tuple(tuple(draw(kinds, rng)) for kinds in self.kinds)

    def stepped_blend(self, genome: Genome, rng: np.random.Generator) -> Blend:
        """The genome's blends, some of them a step away; to be normalised."""
        blend = np.asarray(genome.blend)
        hit = rng.random(self.blends) < max(self.mutation, 1 / max(self.blends, 1))
        if not self.varies_ratios and self.blends:
            hit[rng.integers(self.blends)] = True
        for row in np.flatnonzero(hit):
            if self.kinds:
                blend[row] = step(self.kinds[row], blend[row], rng)
            else:
                blend[row] = np.abs(blend[row] + rng.normal(0.0, STEP, len(self.criteria)))
        return tuple(map(tuple, blend))

    def crossover(self, mother: Genome, father: Genome, rng: np.random.Generator) -> Genome:
        """A child that takes each group's ratio, each cluster's blend, the growth and the width from either parent."""
        pick = rng.random(len(self.groups)) < 0.5
        keep = np.where(pick, mother.keep, father.keep)
        rows = rng.random(self.blends) < 0.5
        blend = tuple(m if take else f for m, f, take in zip(mother.blend, father.blend, rows, strict=True))
        growth = mother.growth if rng.random() < 0.5 else father.growth
        width = mother.width if rng.random() < 0.5 else father.width
        return self.repair(Genome(growth, width, tuple(keep), blend))

    def normalise(self, genome: Genome) -> Genome:
        """Genes clipped to their bounds, blends rescaled to sum 1 (equal weights where all are zero)."""
        growth = tuple([min(max(g, 0), m) for g, m in zip(genome.growth, self.max_growth, strict=True)])
        keep = tuple([min(max(k, self.min_keep), 1.0) for k in genome.keep])
        blend = np.maximum(np.asarray(genome.blend, dtype=float).reshape(self.blends, len(self.criteria)), 0.0)
        width = min(max(genome.width, self.min_width), 1.0)
        if self.kinds:
            blend = np.array([strongest(kinds, row) for kinds, row in zip(self.kinds, blend, strict=True)])
        return Genome(growth, width, keep, tuple(map(_shares, blend)))

    def repair(self, genome: Genome) -> Genome:
        """The nearest narrower genome within budget: the width factor shrinks, then growth, then the ratios.

        Raises:
            InfeasibleBudget: not even :meth:`least` meets the budget.
        """
        genome = self.normalise(genome)
        if self.budget.met(self.cost(genome)):
            return genome
        narrow = self._shrink(genome, "width", self.min_width)
        if narrow is None and any(genome.growth):
            genome = replace(genome, growth=tuple(0 for _ in genome.growth))
            narrow = self._shrink(genome, "width", self.min_width)
        if narrow is None:
            narrow = self._shrink(replace(genome, width=self.min_width), "keep", self.min_keep)
        if narrow is None:
            raise InfeasibleBudget(self._infeasible())
        return narrow

    def _shrink(self, genome: Genome, gene: str, floor: float) -> Genome | None:
        """Bisect a factor on one kind of gene for the widest genome within budget; ``genome`` is normalised."""
        layout, whole = self.layouts[genome.growth], np.asarray(genome.keep)

        def at(t: float) -> tuple[float, np.ndarray]:
            if gene == "width":
                return round(floor + t * (genome.width - floor), DIGITS), whole
            return genome.width, np.array([round(k, DIGITS) for k in (floor + t * (whole - floor)).tolist()])

        def met(t: float) -> bool:
            # Numbers, not genomes: it is asked twenty times a repair, and a search repairs every proposal.
            return self.budget.met(layout.cost(self._widths(genome.growth, *at(t))))

        if not met(0.0):
            return None
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if met(middle) else (low, middle)
        width, keep = at(low)
        return replace(genome, width=width, keep=tuple(keep.tolist()))

    def _infeasible(self) -> str:
        least = self.cost(self.least())
        parts = [
            f"{name} ≤ {limit:,} was asked, the least possible is {getattr(least, name):,}"
            for name, limit in self.budget.limits().items()
            if getattr(least, name) > limit
        ]
        return f"budget: {'; '.join(parts)}; raise it, or lower space.min_keep or space.min_width"

    def dimensions(self) -> tuple[Dimension, ...]:
        """All genes that are searched as boxes, in the order of :meth:`to_vector`."""
        found: list[Dimension] = []
        if self.varies_ratios:
            found += [Dimension(f"growth.{i}", "integer", 0, m) for i, m in enumerate(self.max_growth)]
            found.append(Dimension("width", "real", self.min_width, 1.0))
            found += [Dimension(f"keep.{name}", "real", self.min_keep, 1.0) for name in self.groups]
        found += [
            Dimension(f"blend.{cluster}.{criterion}", "real", 0.0, 1.0)
            for cluster in range(self.blends)
            for criterion in self.criteria
        ]
        return tuple(found)

    def to_vector(self, genome: Genome) -> np.ndarray:
        """Genes as float64 ``[len(dimensions())]``."""
        ratios = [*genome.growth, genome.width, *genome.keep] if self.varies_ratios else []
        return np.array([*ratios, *(w for row in genome.blend for w in row)], dtype=float)

    def from_vector(self, values: np.ndarray) -> Genome:
        """The genome within budget that a vector of genes stands for: clipped, normalised and repaired."""
        blend = np.reshape(values[len(values) - self.blends * len(self.criteria) :], (self.blends, len(self.criteria)))
        rows = tuple(map(tuple, blend))
        if not self.varies_ratios:
            return self.repair(replace(self.uniform(1.0), blend=rows))
        stages, groups = len(self.max_growth), len(self.groups)
        growth = tuple(round(float(v)) for v in values[:stages])
        keep = values[stages + 1 : stages + 1 + groups]
        return self.repair(Genome(growth, float(values[stages]), tuple(keep), rows))


def _shares(weights: np.ndarray) -> tuple[float, ...]:
    """Weights ≥ 0 as shares that sum to 1 in the decimals a genome keeps; even ones where all weights are zero.

    Shares rounded one by one would sum to 1 only nearly, and change again whenever they are rescaled.
    """
    whole = 10**DIGITS
    total = float(weights.sum())
    exact = [w / total * whole for w in weights.tolist()] if total > 0 else [whole / len(weights)] * len(weights)
    exact = [round(share * 1e6) / 1e6 for share in exact]
    units = [math.floor(share) for share in exact]
    missing = whole - sum(units)
    for i in sorted(range(len(units)), key=lambda i: units[i] - exact[i])[:missing]:
        units[i] += 1
    return tuple([unit / whole for unit in units])
