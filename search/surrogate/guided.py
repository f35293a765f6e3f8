"""Evolution steered by the surrogate: most proposals come from its inner evolution, the rest are bred as without it."""

from __future__ import annotations

from collections import deque

from search.strategies import Strategy
from search.strategies.unseen import Seen
from search.surrogate.surrogate import Surrogate
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from workers.evaluation import Evaluation

UNSCREENED = 0.15
"""Share of the proposals that the surrogate has no say in: without them it would only ever see what it likes."""

PICKS = 12
"""Proposals of one inner evolution; then it is run again, on what has been learnt since."""


class Guided:
    """A strategy around another one, which must know every genome that is probed: it is told of all of them."""

    def __init__(self, plain: Strategy, surrogate: Surrogate, seed: int) -> None:
        self._plain = plain
        self._surrogate = surrogate
        self._seed = seed
        self._seen = Seen()
        self._queue: deque[Genome] = deque()

    def ask(self, number: int) -> Genome:
        """A genome from the surrogate's inner evolution where there is one, else from the plain strategy."""
        if self._surrogate.ready and numpy_generator(self._seed, "screened", number).random() >= UNSCREENED:
            if not self._queue:
                self._queue.extend(self._surrogate.propose(PICKS, number))
            while self._queue:
                genome = self._queue.popleft()
                if self._seen.is_new(genome):
                    self._seen.add(genome)
                    return genome
        genome = self._plain.ask(number)
        self._seen.add(genome)
        return genome

    def tell(self, evaluation: Evaluation) -> None:
        """Both learn from every evaluation of the search."""
        self._seen.add(evaluation.request.genome)
        self._surrogate.tell(evaluation)
        self._plain.tell(evaluation)
