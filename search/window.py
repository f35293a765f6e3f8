"""How far ahead a search asks: the one setting that weighs busy workers against fresh knowledge."""

from __future__ import annotations

from math import ceil, log2

from search.strategies import POPULATION

LEAST = 32
"""The window decides the course of a search: up to four workers share this one, and so give the same archive."""


def default_window(workers: int, probes: int, strategy: str = "evolution") -> int:
    """Evaluations asked for ahead of the last commit, for so many workers and probes.

    Commits wait for the slowest of what was asked before, and the longest of n heavy-tailed durations grows with
    log n: ``4·log₂(workers)`` per worker keeps 16 to 1,000 workers over 90% busy (benchmarks/determinism.py). A
    strategy that is asked far ahead knows little, so a short search keeps to a fifth of its probes, at the cost of
    idle workers, though never below four a worker. Members of a population are few, and each is better for what
    was learnt from the last ones: two a worker are asked for, and as many for up to four workers.
    """
    if strategy == POPULATION:
        return 2 * max(4, workers)
    busy = ceil(4 * workers * log2(workers)) if workers > 1 else 1
    return max(LEAST, min(busy, max(4 * workers, probes // 5)))
