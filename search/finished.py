"""What finishing gained, candidate by candidate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from search.config import FinishConfig
from workers.evaluation import FINISH, TRAIN, Evaluation, is_control


def before_finish(evaluation: Evaluation, trainings: Iterable[Evaluation]) -> float:
    """Validation accuracy of the training that a finish went on from; NaN of what is no finish."""
    if evaluation.request.stage != FINISH:
        return math.nan
    return next((t.metrics["accuracy"] for t, f in _pairs(trainings) if f == evaluation), math.nan)


def finish_notes(trainings: Iterable[Evaluation], config: FinishConfig) -> list[str]:
    """What a report says of it; nothing where nothing was finished."""
    told = [_gain(training, finish) for training, finish in _pairs(trainings)]
    if not told:
        return []
    return [
        f"Trained on after the search ({config.in_words}), validation accuracy: "
        f"{'; '.join(told)}. Comparisons with plain alternatives are of trainings, before that."
    ]


def _gain(training: Evaluation, finish: Evaluation) -> str:
    name, before = finish.request.genome.id, training.metrics["accuracy"]
    if not finish.ok:
        return f"{name} failed ({finish.outcome.reason}), its training stands"
    after = finish.metrics["accuracy"]
    ending = "" if after > before else ", so its training stands"
    return f"{name} {before:.2%} → {after:.2%} ({100 * (after - before):+.2f} points{ending})"


def _pairs(trainings: Iterable[Evaluation]) -> Iterator[tuple[Evaluation, Evaluation]]:
    """Each finish with the training before it."""
    first: dict[str, Evaluation] = {}
    for e in trainings:
        name = e.request.genome.id
        if e.request.stage == FINISH and name in first:
            yield first[name], e
        elif e.ok and e.request.stage == TRAIN and not e.request.repeat and not is_control(e.request.origin):
            first.setdefault(name, e)
