"""Random search: the control that every strategy has to beat."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from search.strategies.objectives import ErrorOf, probe_error
from search.strategies.unseen import Seen
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.evaluation import Evaluation


class Random:
    """The starting individuals, then a fresh draw from the space for each number."""

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int = 0,
        cost: str = "",
        seeds: Sequence[Genome] = (),
        error_of: ErrorOf = probe_error,
    ) -> None:
        """``population``, ``cost`` and ``error_of`` are what the other strategies take; nothing is learnt here."""
        self._space = space
        self._seed = seed
        self._seeds = deque(dict.fromkeys(seeds))
        self._seen = Seen()

    def ask(self, number: int) -> Genome:
        """A genome never proposed before, a function of (seed, number)."""
        if self._seeds:
            genome = self._seeds.popleft()
            self._seen.add(genome)
            return genome
        return self._seen.first_new(lambda t: self._space.sample(numpy_generator(self._seed, "start", number, t)))

    def tell(self, evaluation: Evaluation) -> None:
        """Remember the genome, so that it is not proposed."""
        self._seen.add(evaluation.request.genome)
