"""Which candidates are trained, and which one is chosen in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import inf, log

from search.front import Point, front_indices
from search.strategies.objectives import probe_error
from workers.evaluation import TRAIN, Evaluation


def promote(probes: Sequence[Evaluation], promoted: Collection[str], count: int, cost: str) -> list[Evaluation]:
    """The ``count`` most promising probes that were not promoted yet.

    By turns the least probe error, which finds the best network, and of the probes' front the one whose cost is
    farthest from all promoted, which keeps the trained front wide. Infeasible and failed probes are never promoted.
    """
    sound = [p for p in probes if p.ok and p.metrics["violation"] <= 0]
    fresh = {p.request.genome.id: p for p in sound if p.request.genome.id not in promoted}
    taken = [log(p.metrics[cost]) for p in sound if p.request.genome.id in promoted]
    by_error = sorted(fresh.values(), key=lambda p: (probe_error(p), p.metrics[cost], p.request.number))
    points = [Point(0.0, (probe_error(p), float(p.metrics[cost]))) for p in by_error]
    on_front = [by_error[i] for i in front_indices(points)]
    chosen: dict[str, Evaluation] = {}

    def take(following: Evaluation | None) -> None:
        if following is not None and len(chosen) < count:
            chosen[following.request.genome.id] = following
            taken.append(log(following.metrics[cost]))

    while len(chosen) < min(count, len(fresh)):
        take(next((p for p in by_error if p.request.genome.id not in chosen), None))
        take(_widest_gap([p for p in on_front if p.request.genome.id not in chosen], taken, cost))
    return list(chosen.values())


def _widest_gap(probes: Sequence[Evaluation], taken: Sequence[float], cost: str) -> Evaluation | None:
    """The probe whose logarithmic cost is farthest from all taken."""

    def gap(p: Evaluation) -> float:
        return min((abs(log(p.metrics[cost]) - t) for t in taken), default=inf)

    return max(probes, key=lambda p: (gap(p), -p.request.number), default=None)


def trained(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The search's own first trainings that succeeded within budget: what the front and the choice are made of."""
    return [
        e
        for e in evaluations
        if e.ok
        and e.request.stage == TRAIN
        and e.request.repeat == 0
        and not e.request.origin.startswith("control:")
        and e.metrics["violation"] <= 0
    ]


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
