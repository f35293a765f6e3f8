"""One candidate finished, from its trained weights to the better ones beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from spaces.randomness import seed_for
from spaces.space import Space
from workers.atomic import replacing
from workers.evaluate import weights_path
from workers.evaluation import FAILED, OK, Outcome, Request
from workers.finish.leg import FAILED_SCORE, Finishing, Leg, LegResult
from workers.finish.methods import Method, Standing, make_method, standing
from workers.jobs import RunSettings

Tune = Callable[[Finishing, Method, dict[tuple[int, int], float]], tuple[str, str]]
"""Runs the legs that have no score yet and adds their scores; :func:`workers.finish.tuner.tune_members`. What it
returns are the reason and the message of the failure, should legs be left.
"""


def finish_candidate(request: Request, settings: RunSettings, space: Space, tune: Tune) -> Outcome:
    """Finish the candidate of ``request``; at once where an earlier driver did, and only what it left to do.

    The member that ends with the highest validation accuracy is the result (of equals the first); its weights go to
    :func:`workers.evaluate.weights_path`.
    """
    finishing = finishing_of(request, settings.folder)
    seed = seed_for(settings.seed, *request.purpose)
    method = make_method(settings.finish, settings.finish.training(settings.training), seed)
    scores: dict[tuple[int, int], float] = {}
    state = _recall(finishing, method, scores)
    if not state.done:
        reason, message = tune(finishing, method, scores)
        state = _recall(finishing, method, scores)
        if not state.done:
            spent = [_result(finishing, leg).seconds for member in state.over for leg in member]
            return Outcome(request.number, FAILED, reason, message, seconds=sum(spent))
    legs = [leg for member in state.over for leg in member]
    results = {leg: _result(finishing, leg) for leg in legs}
    seconds = sum(result.seconds for result in results.values())
    ended = [leg for leg in legs if leg.last and results[leg].score > FAILED_SCORE]
    if not ended:
        failed = next(result for result in results.values() if result.reason)
        return Outcome(request.number, FAILED, failed.reason, failed.message, seconds=seconds)
    best = max(ended, key=lambda leg: (results[leg].score, -leg.member))
    _keep(finishing, best, weights_path(settings.folder, request))
    _tell(finishing.folder / "result.json", lineage(best, state), results)
    cost = space.cost(request.genome)
    known = {"params": cost.params, "macs": cost.macs, "bytes": cost.bytes, "violation": space.budget.violation(cost)}
    metrics = {**results[best].metrics, **known, "epochs": best.until, "seed": seed}
    return Outcome(request.number, OK, metrics=metrics, seconds=seconds)


def finishing_of(request: Request, folder: Path) -> Finishing:
    """Where the files of a finish are, in the run's folder."""
    return Finishing(request.genome, folder / "finish" / request.genome.id)


def lineage(last: Leg, state: Standing) -> list[Leg]:
    """The legs that led to the end of ``last``, oldest first: whose state each member continued, and how."""
    legs = {(leg.member, leg.number): leg for member in state.over for leg in member}
    path = [last]
    while path[-1].number > 0:
        path.append(legs[path[-1].parent, path[-1].number - 1])
    return path[::-1]


def states_of(finishing: Finishing) -> list[Path]:
    """Weights and states of a finish: of no use once its result is committed, while its records stay.

    What a killed driver left of Ray Tune's files is removed.
    """
    shutil.rmtree(finishing.tune, ignore_errors=True)
    return [*finishing.folder.glob("*.checkpoint"), *finishing.folder.glob("*.safetensors")]


def _recall(finishing: Finishing, method: Method, scores: dict[tuple[int, int], float]) -> Standing:
    """Add the scores of all legs that have a record; where that leaves the finish."""
    while True:
        state = standing(method, scores)
        following = [leg for leg in state.following if isinstance(leg, Leg)]
        noted = {(leg.member, leg.number): r.score for leg in following if (r := finishing.noted(leg)) is not None}
        if not noted:
            return state
        scores.update(noted)


def _result(finishing: Finishing, leg: Leg) -> LegResult:
    result = finishing.noted(leg)
    assert result is not None, leg.name
    return result


def _keep(finishing: Finishing, best: Leg, path: Path) -> None:
    with replacing(path) as temporary:
        shutil.copyfile(finishing.weights(best), temporary)


def _tell(path: Path, legs: list[Leg], results: dict[Leg, LegResult]) -> None:
    """For people: the settings that the finished network was trained with, leg by leg."""
    story = [{**leg.to_json(), **results[leg].metrics} for leg in legs]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(story, indent=1), encoding="utf-8")
