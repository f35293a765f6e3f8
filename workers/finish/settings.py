"""How a chosen candidate is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from workers.train import TrainSettings

PLAIN, PBT, ASHA = "plain", "pbt", "asha"


@dataclass(frozen=True)
class FinishSettings:
    """The fields of :class:`search.config.FinishConfig`, which documents them."""

    method: str = PLAIN
    population: int = 4
    epochs: int = 20
    interval: int = 5
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def members(self) -> int:
        """Networks that are trained side by side."""
        return 1 if self.method == PLAIN else self.population

    def training(self, candidates: TrainSettings) -> TrainSettings:
        """What the first member is trained with: the settings of candidates, over the epochs of a finish."""
        return replace(candidates, epochs=self.epochs)
