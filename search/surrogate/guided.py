"""Evolution steered by the surrogate: most proposals come from its inner evolution, the rest are bred as without it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from search.strategies import Strategy
from search.strategies.unseen import Seen
from search.surrogate.surrogate import Lesson, Surrogate
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from workers.evaluation import Evaluation

UNSCREENED = 0.15
"""Share of the proposals that the surrogate has no say in: without them it would only ever see what it likes."""

PICKS, MOST_PICKS = 12, 96
"""Proposals of one inner evolution; then it is run again, on what has been learnt since."""


@dataclass(frozen=True)
class Guidance:
    """What the steering of a search starts from.

    Attributes:
        images: of the validation split, on which accuracies are measured.
        widths: width factors that the search starts from, besides what else a careful person would try.
        earlier: trainings of other runs, which the forecasts learn from as well.
        picks: proposals of one inner evolution.
    """

    images: int
    widths: tuple[float, ...] = ()
    earlier: tuple[Lesson, ...] = ()
    picks: int = PICKS


def picks_for(window: int) -> int:
    """Proposals of one inner evolution where ``window`` evaluations are under way.

    It takes the driver about as long as some hundred plain proposals, and what it would learn from is under way.
    """
    return min(max(PICKS, window // 16), MOST_PICKS)


class Guided:
    """A strategy around another one, which must know every genome that is probed: it is told of all of them."""

    def __init__(self, plain: Strategy, surrogate: Surrogate, seed: int, picks: int = PICKS) -> None:
        self._plain = plain
        self._picks = picks
        self._surrogate = surrogate
        self._seed = seed
        self._seen = Seen()
        self._queue: deque[Genome] = deque()
        self._rest = 0
        """Proposals until the next inner evolution: where it finds little that is new, another would find no more."""

    def ask(self, number: int) -> Genome:
        """A genome from the surrogate's inner evolution where there is one, else from the plain strategy."""
        if self._surrogate.ready and numpy_generator(self._seed, "screened", number).random() >= UNSCREENED:
            if self._rest == 0:
                self._queue.extend(self._surrogate.propose(self._picks, number))
                self._rest = self._picks
            self._rest -= 1
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
