"""Who trains what next: plain, population-based training, successive halving.

Each method is a function of the settings, the seed and the scores of the legs that are over. Neither the order in
which legs end nor a restart can change an answer, so nothing of it has to be saved: a driver that is started anew
tells the scores again and is where the last one was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spaces.randomness import numpy_generator
from workers.finish.explore import explore, sample
from workers.finish.leg import FAILED_SCORE, Leg
from workers.finish.settings import ASHA, PBT, FinishSettings
from workers.train import TrainSettings

QUANTILE = 0.25
"""Share of a population that is replaced after each interval, and share that replacements are copied from."""

REDUCTION = 3
"""Successive halving: a rung keeps one in so many, and the next is so many times as far."""

Scores = Mapping[tuple[int, int], float]
"""Of (member, number of the leg): validation accuracy, or ``FAILED_SCORE``."""


class _Waiting:
    """The type of :data:`WAITING`."""


WAITING = _Waiting()
"""Other legs have to end before the answer is known."""

Answer = Leg | _Waiting | None


class Method(Protocol):
    """Decides each member's legs."""

    members: int

    def leg(self, member: int, number: int, scores: Scores) -> Answer:
        """Leg ``number`` of ``member``; ``WAITING`` until it is known; ``None`` where the member ends before it."""


def make_method(settings: FinishSettings, training: TrainSettings, seed: int) -> Method:
    """The method of ``settings``; ``training`` is what the first member starts with, for ``settings.epochs``."""
    first = [_start(member, settings, training, seed) for member in range(settings.members)]
    if settings.method == PBT:
        return Population(settings, first, seed)
    return Rungs(first, rungs(settings) if settings.method == ASHA else (settings.epochs,))


def _start(member: int, settings: FinishSettings, training: TrainSettings, seed: int) -> TrainSettings:
    """The configured settings for the first member, so that a population never does without them."""
    return training if member == 0 else sample(training, settings.ranges, numpy_generator(seed, "member", member))


class Population:
    """Population-based training (Jaderberg et al. 2017, arXiv 1711.09846), synchronous, with truncation selection.

    After each interval the worst quarter continue as copies of members of the best quarter, with settings that
    differ a little. Members that failed are copies as well, however many they are.
    """

    def __init__(self, settings: FinishSettings, first: Sequence[TrainSettings], seed: int) -> None:
        self.members = len(first)
        self._ends = [*range(settings.interval, settings.epochs, settings.interval), settings.epochs]
        self._ranges = settings.ranges
        self._seed = seed
        self._legs = [[Leg(m, 0, m, self._ends[0], s) for m, s in enumerate(first)]]

    def leg(self, member: int, number: int, scores: Scores) -> Answer:
        """See :class:`Method`."""
        if number >= len(self._ends):
            return None
        while len(self._legs) <= number:
            before = [scores.get((m, len(self._legs) - 1)) for m in range(self.members)]
            known = [score for score in before if score is not None]
            if len(known) < self.members:
                return WAITING
            if max(known) <= FAILED_SCORE:
                return None
            self._legs.append(self._next(known))
        return self._legs[number][member]

    def _next(self, scores: Sequence[float]) -> list[Leg]:
        before, number = self._legs[-1], len(self._legs)
        worst, best = quantiles(scores)
        legs = []
        for m in range(self.members):
            rng = numpy_generator(self._seed, "exploit", number, m)
            parent, settings = m, before[m].settings
            if m in worst:
                parent = best[int(rng.integers(len(best)))]
                settings = explore(before[parent].settings, self._ranges, rng)
            legs.append(Leg(m, number, parent, self._ends[number], settings))
        return legs


def quantiles(scores: Sequence[float]) -> tuple[list[int], list[int]]:
    """Members to be replaced, and members to copy; of equals the earlier member is the worse.

    A population of one replaces nobody. At least one score is not ``FAILED_SCORE``.
    """
    order = sorted(range(len(scores)), key=lambda m: (scores[m], m))
    count = min(math.ceil(len(scores) * QUANTILE), len(scores) // 2)
    sound = [m for m in order if scores[m] > FAILED_SCORE]
    best = sound[-max(count, 1) :]
    worst = [m for m in order[:count] if m not in best]
    failed = [m for m in order if scores[m] <= FAILED_SCORE]
    return list(dict.fromkeys([*worst, *failed])), best


def rungs(settings: FinishSettings) -> tuple[int, ...]:
    """Epochs at which successive halving compares, and the last one: interval × 3ᵏ."""
    ends = []
    end = settings.interval
    while end < settings.epochs:
        ends.append(end)
        end *= REDUCTION
    return (*ends, settings.epochs)


class Rungs:
    """Successive halving with ASHA's rule (Li et al. 2020, arXiv 1810.05934; the stopping variant).

    At a rung a member goes on if its score is at least the upper third's among those recorded before it. Where ASHA
    takes them in the order in which they happen to arrive, here it is the order of members, so that the result does
    not depend on timing. With one rung it is a plain training.
    """

    def __init__(self, first: Sequence[TrainSettings], ends: Sequence[int]) -> None:
        self.members = len(first)
        self._first = first
        self._ends = ends
        self._decided: dict[tuple[int, int], bool] = {}

    def leg(self, member: int, number: int, scores: Scores) -> Answer:
        """See :class:`Method`."""
        for rung in range(number):
            goes_on = self._goes_on(member, rung, scores)
            if goes_on is None:
                return WAITING
            if not goes_on:
                return None
        if number >= len(self._ends):
            return None
        return Leg(member, number, member, self._ends[number], self._first[member])

    def _goes_on(self, member: int, rung: int, scores: Scores) -> bool | None:
        """Whether ``member`` continues after ``rung``, which it reaches; ``None`` where that is not known yet."""
        if (member, rung) not in self._decided:
            decision = self._decide(member, rung, scores)
            if decision is None:
                return None
            self._decided[member, rung] = decision
        return self._decided[member, rung]

    def _decide(self, member: int, rung: int, scores: Scores) -> bool | None:
        own = scores.get((member, rung))
        if own is None or own <= FAILED_SCORE:
            return None if own is None else False
        recorded = []
        for other in range(member):
            answer = self.leg(other, rung, scores)
            score = scores.get((other, rung))
            if isinstance(answer, _Waiting) or (answer is not None and score is None):
                return None
            if answer is not None and score is not None:
                recorded.append(score)
        return not recorded or own >= float(np.percentile(recorded, 100 * (1 - 1 / REDUCTION)))


@dataclass(frozen=True)
class Standing:
    """Where a finish stands: per member the legs that are over, and what comes next."""

    over: tuple[tuple[Leg, ...], ...]
    following: tuple[Answer, ...]

    @property
    def done(self) -> bool:
        """Whether no leg is left."""
        return all(answer is None for answer in self.following)


def standing(method: Method, scores: Scores) -> Standing:
    """Follow every member through the legs that have scores."""
    over, following = [], []
    for member in range(method.members):
        legs: list[Leg] = []
        answer = method.leg(member, 0, scores)
        while isinstance(answer, Leg) and (member, answer.number) in scores:
            legs.append(answer)
            answer = method.leg(member, answer.number + 1, scores)
        over.append(tuple(legs))
        following.append(answer)
    return Standing(tuple(over), tuple(following))
