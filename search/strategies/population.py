"""Population-based training with structural inheritance, for several objectives.

A member is a network with its weights. A child goes on from its parent's weights: pruned further by a mutated blend,
grown by a module, or as it is, and with perturbed settings of its training; it trains for an interval, and members
survive by constrained NSGA-II. The idea of one population that trains and searches at once is that of Jaderberg et al.,
"Population Based Training of Neural Networks", 2017 (arXiv 1711.09846); members of different structure, and more than
one objective, are not in it.

What members may cost falls from the base network's cost to the budget over the first half of the intervals, so that
those who prune late are not outlived by those who prune first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.choice import Promising
from search.front import Point, best, standing, tournament
from search.ranges import PACE, Range
from search.strategies.unseen import Seen
from spaces.budget import Budget
from spaces.foundation import Foundation
from spaces.genome import Genome
from spaces.inherit import carrying, kept_by_child
from spaces.layout import Cost
from spaces.randomness import numpy_generator
from workers.evaluation import INTERVAL, Evaluation

TIGHTENING = 0.5
"""Share of the intervals over which the allowed cost falls to the budget."""

BISECTIONS = 20


@dataclass(frozen=True)
class Proposal:
    """Who is to train for an interval, and the id of the member whose weights it starts from (or none)."""

    genome: Genome
    parent: str = ""


@dataclass(frozen=True)
class Member:
    """A network that has trained: what selection and its children need to know of it."""

    evaluation: Evaluation
    cost: Cost
    kept: Mapping[str, np.ndarray]

    @property
    def genome(self) -> Genome:
        return self.evaluation.request.genome


class Population:
    """Proposes members; like every strategy a function of (seed, number, what was told).

    Args:
        foundation: the space, and the trunks that say which channels a child keeps.
        size: members that survive.
        intervals: how many members will be asked for in all.
        cost: second objective beside the validation error.
        ranges: what each member varies of its training, and :data:`PACE`.
        founders: the first members; the others are random and wide.
    """

    def __init__(
        self,
        foundation: Foundation,
        seed: int,
        size: int,
        intervals: int,
        cost: str,
        ranges: Sequence[Range],
        founders: Iterable[Genome] = (),
    ) -> None:
        self._foundation = foundation
        self._space = foundation.space
        self._seed = seed
        self._size = size
        self._intervals = intervals
        self._cost = cost
        self._ranges = tuple(ranges)
        self._founders = deque(dict.fromkeys(founders))
        self._founded = 0
        self._seen = Seen()
        self._members: list[Member] = []
        self._under_way: dict[int, tuple[str, Mapping[str, np.ndarray]]] = {}
        self._told = 0
        self._on_disk: set[str] = set()

    def ask(self, number: int) -> Proposal:
        """The member that trains in evaluation ``number``: a founder, or a child of a member."""
        if self._founded < self._size or not self._members:
            self._founded += 1
            genome = self._seen.first_new(lambda attempt: self._founder(number, attempt))
            self._under_way[number] = ("", self._foundation.kept(genome))
            return Proposal(genome)
        rng = numpy_generator(self._seed, "parent", number)
        parent = self._members[tournament(self._standing(), rng)]
        genome = self._seen.first_new(
            lambda attempt: self._child(parent, number, attempt),
            lambda attempt: self._pruned(parent, parent.genome, numpy_generator(self._seed, "pruned", number, attempt)),
        )
        kept = kept_by_child(self._foundation, genome, parent.genome.growth, parent.kept)
        self._under_way[number] = (parent.genome.id, kept)
        return Proposal(genome, parent.genome.id)

    def tell(self, evaluation: Evaluation) -> None:
        """Let a member that has trained into the population, and drop who does not survive; failures never enter."""
        if evaluation.request.stage != INTERVAL:
            return
        _, kept = self._under_way.pop(evaluation.request.number)
        self._told += 1
        genome = evaluation.request.genome
        self._on_disk.add(genome.id)  # of one that failed too: it may have got as far as its weights
        # A genome comes twice where its space is all but exhausted: twice in the population it would breed twice.
        if evaluation.ok and all(member.genome.id != genome.id for member in self._members):
            self._members.append(Member(evaluation, self._space.cost(genome), kept))
            survivors = sorted(best(self._standing(), self._size))
            self._members = [self._members[i] for i in survivors]

    def retired(self) -> list[str]:
        """Ids of members whose weights nobody will ask for any more, once each."""
        needed = {m.genome.id for m in self._members} | {parent for parent, _ in self._under_way.values()}
        gone = sorted(self._on_disk - needed)
        self._on_disk -= set(gone)
        return gone

    def promote(self, count: int) -> list[Evaluation]:
        """The ``count`` members within budget that are worth a training to the end, the most promising first."""
        promising = Promising(count, self._cost)
        for member in self._members:
            promising.add(member.evaluation)
        return promising.promote(count)

    def _standing(self) -> list[tuple[int, float]]:
        allowed = self._allowed()
        points = [
            Point(allowed.violation(m.cost), (1 - m.evaluation.metrics["accuracy"], getattr(m.cost, self._cost)))
            for m in self._members
        ]
        return standing(points)

    def _allowed(self) -> Budget:
        """What members may cost by now: between the base network's cost and the budget, on a logarithmic scale."""
        progress = min(1.0, self._told / max(1.0, TIGHTENING * self._intervals))
        layout = self._space.ungrown
        base = layout.cost(layout.sizes)
        limits = self._space.budget.limits()
        return Budget(
            **{
                name: int(max(limit, getattr(base, name) * (limit / getattr(base, name)) ** progress))
                for name, limit in limits.items()
            }
        )

    def _founder(self, number: int, attempt: int) -> Genome:
        rng = numpy_generator(self._seed, "founder", number, attempt)
        settings = tuple(r.draw(rng) for r in self._ranges)
        if self._founders:
            return self._plain(replace(self._founders.popleft(), settings=settings))
        keep = rng.uniform(0.5, 1.0, len(self._space.groups))
        growth = tuple(0 for _ in self._space.max_growth)
        wide = replace(self._space, budget=Budget())
        genome = wide.normalise(Genome(growth, 1.0, tuple(keep), self._space.drawn_blend(rng)))
        return replace(genome, settings=settings)

    def _plain(self, genome: Genome) -> Genome:
        """The same network as a genome whose width factor is 1, as those of all members are."""
        layout, widths = self._space.layout(genome), self._space.widths(genome)
        kept = dict(zip(layout.names, (widths / layout.sizes).tolist(), strict=True))
        keep = tuple(kept.get(name, own) for name, own in zip(self._space.groups, genome.keep, strict=True))
        return replace(genome, width=1.0, keep=keep)

    def _child(self, parent: Member, number: int, attempt: int) -> Genome:
        rng = numpy_generator(self._seed, "child", number, attempt)
        settings = tuple(r.perturb(value, rng) for r, value in zip(self._ranges, parent.genome.settings, strict=True))
        genome = replace(parent.genome, settings=settings)
        within = self._space.budget.met(parent.cost)
        step = rng.random()
        if step < self._space.mutation and (grown := self._grown(parent, genome, rng)) is not None:
            return grown
        if step < (0.5 if within else 0.9):
            return self._pruned(parent, genome, rng)
        return genome

    def _grown(self, parent: Member, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """One module more in some stage, just as wide as to carry what the parent computes; if there is room for it."""
        growths = [
            growth
            for stage in range(len(genome.growth))
            if (growth := _one_more(genome.growth, stage)) in self._space.layouts
        ]
        if not growths:
            return None
        growth = growths[int(rng.integers(len(growths)))]
        layout = self._space.layouts[growth]
        sizes = dict(zip(layout.names, layout.sizes.tolist(), strict=True))
        added = carrying(self._foundation, growth, genome.growth, parent.kept)
        keep = list(genome.keep)
        for name, channels in added.items():
            step = min(self._space.round_to, sizes[name])
            keep[self._space.groups.index(name)] = min(1.0, -(-len(channels) // step) * step / sizes[name])
        grown = replace(genome, growth=growth, keep=tuple(keep))
        return grown if self._allowed().met(self._space.cost(grown)) else None

    def _pruned(self, parent: Member, genome: Genome, rng: np.random.Generator) -> Genome:
        """Narrower by the member's own pace, some groups more than others, but no farther than to the budget."""
        pace = next((v for r, v in zip(self._ranges, genome.settings, strict=True) if r.name == PACE), 0.8)
        goals = self._space.budget.limits() or {self._cost: 0}
        target = Budget(**{name: max(limit, int(pace * getattr(parent.cost, name))) for name, limit in goals.items()})
        blend = self._space.normalise(replace(genome, blend=self._space.stepped_blend(genome, rng))).blend
        whole = np.asarray(genome.keep)
        uneven = whole * np.exp(-np.abs(rng.normal(0.0, 0.3, len(whole)))) if rng.random() < 0.7 else whole
        floor = np.minimum(whole, self._space.min_keep * self._space.min_width)  # the least that the space promises

        def at(factor: float) -> Genome:
            return replace(genome, keep=tuple(np.maximum(uneven * factor, floor)), blend=blend)

        low, high = 0.0, 1.0
        if target.met(self._space.cost(at(1.0))):
            return at(1.0)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if target.met(self._space.cost(at(middle))) else (low, middle)
        return at(low)


def _one_more(growth: tuple[int, ...], stage: int) -> tuple[int, ...]:
    return tuple(g + (i == stage) for i, g in enumerate(growth))
