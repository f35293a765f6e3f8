"""Which candidates are trained, and which one is chosen in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, log

from search.front import Point, front_indices
from search.strategies.objectives import probe_error
from workers.evaluation import FINISH, TRAIN, Evaluation, is_control


class Promising:
    """The probes that may yet be trained, out of however many there were: memory does not grow with the search.

    Args:
        most: promotions that will ever be asked for.
        cost: second objective beside the probe error.
    """

    def __init__(self, most: int, cost: str) -> None:
        self.cost = cost
        self._most = most
        self._probes: dict[str, Evaluation] = {}
        self._promoted: set[str] = set()

    def add(self, probe: Evaluation) -> None:
        """Note a probe; infeasible and failed ones are never promoted."""
        if probe.ok and probe.metrics["violation"] <= 0:
            self._probes[probe.request.genome.id] = probe  # a strategy may propose a genome twice
            if len(self._probes) > 2 * (len(self._promoted) + self._most) + 256:
                self._forget()

    def take(self, probe: Evaluation) -> None:
        """Note that a probe is promoted, whoever chose it."""
        name = probe.request.genome.id
        self._probes[name] = probe
        self._promoted.add(name)

    def promote(self, count: int) -> list[Evaluation]:
        """The ``count`` most promising probes that were not promoted yet.

        By turns the least probe error, which finds the best network, and of the probes' front the one whose cost is
        farthest from all promoted, which keeps the trained front wide.
        """
        taken = [log(self._probes[name].metrics[self.cost]) for name in self._promoted]
        chosen: list[Evaluation] = []

        def take(following: Evaluation | None) -> None:
            if following is not None and len(chosen) < count:
                chosen.append(following)
                taken.append(log(following.metrics[self.cost]))
                self._promoted.add(following.request.genome.id)

        by_error, on_front = self._by_error(), self._front()
        while len(chosen) < count and len(self._promoted) < len(self._probes):
            take(next(iter(self._fresh(by_error)), None))
            take(_widest_gap(self._fresh(on_front), taken, self.cost))
        return chosen

    def _fresh(self, probes: Iterable[Evaluation]) -> list[Evaluation]:
        return [p for p in probes if p.request.genome.id not in self._promoted]

    def _by_error(self) -> list[Evaluation]:
        return sorted(self._probes.values(), key=lambda p: (probe_error(p), p.metrics[self.cost], p.request.number))

    def _front(self) -> list[Evaluation]:
        probes = list(self._probes.values())
        points = [Point(0.0, (probe_error(p), float(p.metrics[self.cost]))) for p in probes]
        return [probes[i] for i in front_indices(points)]

    def _forget(self) -> None:
        """Keep what a promotion can still reach: the front, and as many of least error as will ever be promoted."""
        best = self._by_error()[: self._most]
        promoted = [self._probes[name] for name in self._promoted]
        kept = {p.request.genome.id for p in (*best, *self._front(), *promoted)}
        self._probes = {name: p for name, p in self._probes.items() if name in kept}


def _widest_gap(probes: Sequence[Evaluation], taken: Sequence[float], cost: str) -> Evaluation | None:
    """The probe whose logarithmic cost is farthest from all taken."""

    def gap(p: Evaluation) -> float:
        return min((abs(log(p.metrics[cost]) - t) for t in taken), default=inf)

    return max(probes, key=lambda p: (gap(p), -p.request.number), default=None)


def trained(evaluations: Iterable[Evaluation], stages: Sequence[str] = (TRAIN, FINISH)) -> list[Evaluation]:
    """The search's own first trainings that succeeded within budget: what the front and the choice are made of.

    Of a candidate that was finished, the more accurate of training and finish (of equals the training).
    """
    found: dict[str, Evaluation] = {}
    for e in evaluations:
        if (
            e.ok
            and e.request.stage in stages
            and e.request.repeat == 0
            and not is_control(e.request.origin)
            and e.metrics["violation"] <= 0
        ):
            known = found.get(e.request.genome.id)
            if known is None or e.metrics["accuracy"] > known.metrics["accuracy"]:
                found[e.request.genome.id] = e
    return list(found.values())


def to_finish(evaluations: Iterable[Evaluation], cost: str, chosen: Evaluation | None, count: int) -> list[Evaluation]:
    """The ``count`` trainings to finish: the chosen one, then those of the front, the most accurate first."""
    others = sorted(front(evaluations, cost), key=lambda e: (-e.metrics["accuracy"], e.metrics[cost], e.request.number))
    first = [] if chosen is None else [chosen]
    return [*first, *(e for e in others if e not in first)][:count]


def front(evaluations: Iterable[Evaluation], cost: str) -> list[Evaluation]:
    """The non-dominated trained candidates (validation error, cost), cheapest first."""
    candidates = trained(evaluations)
    points = [Point(0.0, (1 - e.metrics["accuracy"], float(e.metrics[cost]))) for e in candidates]
    return sorted((candidates[i] for i in front_indices(points)), key=lambda e: e.metrics[cost])


def choose(
    evaluations: Iterable[Evaluation], cost: str, base_accuracy: float, max_drop: float | None
) -> Evaluation | None:
    """The candidate to ship, by validation accuracy; ``None`` where nothing was trained within budget.

    The most accurate one (the cheaper of equals); with ``max_drop``, the cheapest within that drop of the base
    network's accuracy, or the most accurate where none is.
    """
    candidates = trained(evaluations)
    if max_drop is not None:
        near = [e for e in candidates if e.metrics["accuracy"] >= base_accuracy - max_drop]
        if near:
            return min(near, key=lambda e: (e.metrics[cost], -e.metrics["accuracy"], e.request.number))
    return min(candidates, key=lambda e: (-e.metrics["accuracy"], e.metrics[cost], e.request.number), default=None)
