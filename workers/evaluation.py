"""One evaluation of one genome: what is asked, what came back, and how both stand in the archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spaces.genome import Genome

PROBE, TUNE, INTERVAL, TRAIN, SCRATCH = "probe", "tune", "interval", "train", "scratch"
RUNG, FINISH = "rung", "finish"
BAR, PUSH_PRUNE = "bar", "push_prune"
RECIPES = (BAR, PUSH_PRUNE)
"""Stages in which a training method chooses channels itself; the genome says how many modules, and at which size."""
PASSING = (PROBE, INTERVAL, RUNG)
"""Stages that candidates pass in numbers; the others are trainings to an end, each with its own run in MLflow."""
PROBING = (PROBE, INTERVAL)
"""Those of them that say whom to train; the seconds of the others are counted as training."""
OK, FAILED = "ok", "failed"
REASONS = ("oom", "nan", "hopeless", "timeout", "error", "worker_lost")


def is_control(origin: str) -> bool:
    """Whether an evaluation belongs to a control and not to the search itself."""
    return origin.startswith("control:")


@dataclass(frozen=True)
class Request:
    """Evaluation ``number`` of a run: measure ``genome`` by ``stage``.

    Attributes:
        number: position in the run's order, from 0.
        stage: ``probe`` (no training), ``tune`` (fine-tuned for a little), ``interval`` (a member of a population,
            trained on for a little), ``rung`` (the beginning of a ``train``, which may go on from there), ``train``
            (to the end), ``scratch`` (the same architecture, trained from fresh weights), ``finish`` (trained on
            after the search, by Ray Tune) or one of :data:`RECIPES`.
        origin: who asked: a strategy's name, or ``control:NAME`` for a control.
        repeat: 0, or the index of a repeated training with another seed.
        forecast: of a training: the accuracy that the surrogate expects, and the ends of its 90% interval. A note, no
            part of what is asked for.
        parent: id of the member of the population whose weights it starts from; empty for those of the base network.
        epochs: of a training: how many, where not as many as the run's settings say; of a rung: where it pauses. A
            note likewise, for the plan asks for it again.
    """

    number: int
    stage: str
    genome: Genome
    origin: str
    repeat: int = 0
    forecast: tuple[float, float, float] | None = field(default=None, compare=False)
    parent: str = ""
    epochs: int | None = field(default=None, compare=False)

    @property
    def purpose(self) -> tuple[str, str, int]:
        """What the evaluation's randomness is derived from besides the run's seed: never its number or worker."""
        return (TRAIN if self.stage == RUNG else self.stage, self.genome.id, self.repeat)


@dataclass(frozen=True)
class Outcome:
    """What a worker (real or simulated) returns for a request.

    Attributes:
        status: ``ok`` or ``failed``.
        reason: empty, or one of ``oom``, ``nan``, ``hopeless``, ``timeout``, ``error``, ``worker_lost``.
        message: for people: the exception in one line.
        metrics: named measurements (the archive's schema documents each); empty when failed.
        embedding: statistics of the candidate's features, for surrogates; empty when failed.
        seconds: device-seconds that the evaluation took, over all attempts.
        worker: where it ran.
        attempts: how often it was started; 0 where its worker was lost before it began.
        with_machine: of a lost worker: whether its whole machine was lost.
    """

    number: int
    status: str
    reason: str = ""
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    embedding: tuple[float, ...] = ()
    seconds: float = 0.0
    worker: str = ""
    attempts: int = 1
    with_machine: bool = False


@dataclass(frozen=True)
class Evaluation:
    """A committed evaluation: one row of the archive."""

    request: Request
    outcome: Outcome

    @property
    def ok(self) -> bool:
        return self.outcome.status == OK

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.outcome.metrics
