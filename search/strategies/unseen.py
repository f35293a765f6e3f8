"""Proposing each genome once."""

from __future__ import annotations

from collections.abc import Callable

from spaces.genome import Genome

ATTEMPTS = 50
"""Tries before the next, wilder way of making a genome."""


class Seen:
    """Ids of the genomes that a strategy has proposed or been told of: all that it remembers of the whole run."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def add(self, genome: Genome) -> None:
        self._ids.add(genome.id)

    def is_new(self, genome: Genome) -> bool:
        return genome.id not in self._ids

    def first_new(self, *makers: Callable[[int], Genome]) -> Genome:
        """The first genome not seen before, from up to ``ATTEMPTS`` tries of each maker in turn; from now on it is.

        Each maker gets the number of the try, so that its randomness can differ. Where all tries are known genomes the
        space is all but exhausted (a handful of genomes fit the budget) and the last one is proposed again: its
        evaluation repeats a row and harms nothing, where an error would end the search.
        """
        for make in makers:
            for attempt in range(ATTEMPTS):
                genome = make(attempt)
                if self.is_new(genome):
                    self._ids.add(genome.id)
                    return genome
        return genome
