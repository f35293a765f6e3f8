"""A leg: the part of one member's training between two decisions; and what stays of it on disk.

The files of a finish are its only state. A leg that has a record is over and is never trained again; one without is
continued from its checkpoint, or from where its parent stood.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spaces.genome import Genome
from workers.atomic import replacing
from workers.train import TrainSettings

FAILED_SCORE = -1.0
"""Of a leg that failed: below every accuracy."""


@dataclass(frozen=True)
class Leg:
    """Leg ``number`` of ``member``: from where ``parent`` stood after the leg before, to ``until`` epochs in all.

    Attributes:
        settings: of the whole training; those of earlier legs may have been others.
    """

    member: int
    number: int
    parent: int
    until: int
    settings: TrainSettings

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.number:03d}-{self.member:03d}"

    @property
    def last(self) -> bool:
        """Whether the training ends with it."""
        return self.until >= self.settings.epochs

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Leg:
        """What :meth:`to_json` wrote."""
        return cls(**{**fields, "settings": TrainSettings(**fields["settings"])})


@dataclass(frozen=True)
class LegResult:
    """How a leg ended.

    Attributes:
        metrics: of a leg that went well, as the archive names them; of the last leg all, else accuracy and loss.
        seconds: device-seconds of the attempt that ended it.
        reason, message: why it failed, as in :class:`workers.evaluation.Outcome`; empty where it did not.
    """

    metrics: dict[str, float]
    seconds: float
    reason: str = ""
    message: str = ""

    @property
    def score(self) -> float:
        """Validation accuracy; ``FAILED_SCORE`` where the leg failed."""
        return FAILED_SCORE if self.reason else self.metrics["accuracy"]


@dataclass(frozen=True)
class Finishing:
    """The finish of one candidate: which one, and the folder of its files."""

    genome: Genome
    folder: Path

    @property
    def tune(self) -> Path:
        """What Ray Tune writes while it runs; nobody reads it."""
        return self.folder / "tune"

    def checkpoint(self, leg: Leg) -> Path:
        """State of the training at the leg's end, and on the way there."""
        return self.folder / f"{leg.name}.checkpoint"

    def weights(self, leg: Leg) -> Path:
        """The candidate as a last leg leaves it."""
        return self.folder / f"{leg.name}.safetensors"

    def note(self, leg: Leg, result: LegResult) -> None:
        """Write down that a leg is over; its weights and checkpoint are on disk by then."""
        with replacing(self.record(leg)) as temporary:
            text = json.dumps({"leg": leg.to_json(), "result": asdict(result)}, indent=1)
            temporary.write_text(text, encoding="utf-8")

    def noted(self, leg: Leg) -> LegResult | None:
        """The result of a leg that is over; ``None`` where it is not, or where the record is of another leg."""
        try:
            fields = json.loads(self.record(leg).read_bytes())
            return LegResult(**fields["result"]) if Leg.from_json(fields["leg"]) == leg else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a damaged record costs a leg, never the candidate

    def record(self, leg: Leg) -> Path:
        """What :meth:`note` writes."""
        return self.folder / f"{leg.name}.json"
