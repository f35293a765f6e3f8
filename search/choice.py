"""Which candidates are trained, and which one is chosen in the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from search.front import Point, front_indices, select
from search.strategies.objectives import probe_error
from workers.evaluation import TRAIN, Evaluation


def promote(probes: Sequence[Evaluation], promoted: Collection[str], count: int, cost: str) -> list[Evaluation]:
    """The ``count`` most promising probes that were not promoted yet.

    Alternately the least probe error, and the next of a spread of the probes' front: the first finds the best network,
    the second keeps the trained front wide. Infeasible and failed probes are never promoted.
    """
    ready = [p for p in probes if p.ok and p.request.genome.id not in promoted and p.metrics["violation"] <= 0]
    by_error = sorted(ready, key=lambda p: (probe_error(p), p.metrics[cost], p.request.number))
    points = [Point(0.0, (probe_error(p), float(p.metrics[cost]))) for p in ready]
    by_spread = [ready[i] for i in select(points, min(len(points), 4 * count))]
    chosen: dict[str, Evaluation] = {}
    queues = (iter(by_error), iter(by_spread))
    while len(chosen) < min(count, len(ready)):
        for queue in queues:
            fresh = next((p for p in queue if p.request.genome.id not in chosen), None)
            if fresh is not None and len(chosen) < count:
                chosen[fresh.request.genome.id] = fresh
    return list(chosen.values())


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
