"""Ray Tune's part of the decisions: it asks the method, and runs, pauses or stops trials as the method says.

Tune has schedulers for population-based training and ASHA. Their state is lost when an experiment is restored, they
draw from Python's global generator, and what they decide depends on which trial happens to report first. Here a
trial pauses after each leg, and what it does next is asked of a function of the scores alone.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from workers.finish.leg import Leg
from workers.finish.methods import Answer, Method
from workers.finish.trial import LEG, MEMBER


class LegScheduler(FIFOScheduler):  # type: ignore[misc]
    """Runs the legs of one finish; a trial is a member.

    Args:
        scores: of the legs that are over, kept up to date.
    """

    def __init__(self, method: Method, scores: dict[tuple[int, int], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._method = method
        self._scores = scores

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Give it a leg, because Tune starts it unasked; also called when a trial was lost and is put back.

        A member that has to wait reports its last leg again, which takes no time, and is paused.
        """
        number = self._legs_over(trial)
        for leg in (self._following(trial), self._method.leg(_member(trial), number - 1, self._scores)):
            if isinstance(leg, Leg):
                _set_leg(trial, leg)
                break

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Note the score; a trial that goes on is paused, because only then it gets its next leg."""
        self._scores[result[MEMBER], result[LEG]] = result["score"]
        if self._following(trial) is None or _any_lost(tune_controller):
            return str(TrialScheduler.STOP)
        # Nothing is to be saved, and saving would want a disk that all machines share.
        tune_controller.pause_trial(trial, should_checkpoint=False)
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first paused member whose next leg is known by now, else one that never ran; who has none is ended."""
        lost = _any_lost(tune_controller)
        chosen = None
        for trial in sorted(tune_controller.get_trials(), key=lambda t: (t.status != Trial.PAUSED, _member(t))):
            if trial.status not in (Trial.PENDING, Trial.PAUSED):
                continue
            following = self._following(trial)
            if following is None or lost:
                tune_controller.stop_trial(trial)
            elif chosen is None and isinstance(following, Leg):
                _set_leg(trial, following)
                chosen = trial
        return chosen

    def _following(self, trial: Trial) -> Answer:
        return self._method.leg(_member(trial), self._legs_over(trial), self._scores)

    def _legs_over(self, trial: Trial) -> int:
        return next(n for n in count() if (_member(trial), n) not in self._scores)


def _member(trial: Trial) -> int:
    return int(trial.config[MEMBER])


def _set_leg(trial: Trial, leg: Leg) -> None:
    trial.set_config({**trial.config, LEG: leg.to_json()})  # type: ignore[no-untyped-call]


def _any_lost(tune_controller: Any) -> bool:
    """Whether a member died more often than the limit allows: what the others are worth will never be known."""
    return any(trial.status == Trial.ERROR for trial in tune_controller.get_trials())
