"""What the parts of one run share while a driver is at work on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from search.config import SearchConfig
from search.folder import RunFolder, RunRecord
from search.halving import rung_epochs
from search.mirror import Mirror, NoMirror
from search.plan import PlanSettings
from search.preflight import Preflight
from search.view import View
from workers.cluster import RayCluster
from workers.evaluation import PROBE, Request
from workers.finish.settings import FinishSettings
from workers.jobs import RunSettings, VisibleData
from workers.probe import ProbeSettings
from workers.train import TrainSettings


@dataclass
class Drive:
    """One driver's work on one run, in this process."""

    preflight: Preflight
    folder: RunFolder
    record: RunRecord
    cluster: RayCluster
    view: View
    mirror: Mirror = field(default_factory=NoMirror)
    started: float = field(default_factory=time.time)

    @property
    def config(self) -> SearchConfig:
        return self.preflight.config

    @cached_property
    def data(self) -> VisibleData:
        """What the search may see."""
        return VisibleData.of(self.preflight.splits)

    @cached_property
    def settings(self) -> RunSettings:
        """What workers need to know."""
        keeper = self.cluster.keeper(self.folder.path.absolute())
        return replace(run_settings(self.preflight, self.folder), run=self.record.id, keeper=keeper)

    def note(self, **changes: Any) -> None:
        """Change the run's record, here and on disk."""
        self.record = replace(self.record, **changes)
        self.folder.save_record(self.record)


def run_settings(preflight: Preflight, folder: RunFolder) -> RunSettings:
    """The part of the configuration that workers need."""
    config = preflight.config
    return RunSettings(
        spec=preflight.spec,
        folder=folder.path.absolute(),
        seed=config.seed,
        criteria=config.space.criteria,
        keep=config.network.keep,
        cost=config.search.cost,
        base_training=TrainSettings(**config.base_training.model_dump()),
        training=TrainSettings(**config.training.model_dump()),
        probe=ProbeSettings(config.probe.batch_size, config.probe.latency, config.probe.proxies),
        probe_images=preflight.probe_images,
        scoring_images=config.probe.scoring_images,
        interval_epochs=config.population.interval,
        varied=tuple(r.name for r in config.population.ranges),
        compensate=config.probe.compensate,
        memory_mb=config.limits.memory_mb,
        finish=FinishSettings(**config.finish.model_dump(exclude={"candidates"})),
    )


def plan_settings(config: SearchConfig) -> PlanSettings:
    """The part of the configuration that decides the course."""
    s, c = config.search, config.controls
    return PlanSettings(
        strategy=s.strategy,
        probes=s.probes,
        trainings=s.trainings,
        rounds=s.rounds,
        population=s.population,
        cost=s.cost,
        controls=c.enabled,
        repeats=c.repeats,
        recipes=c.recipes,
        sensitivity_levels=c.sensitivity_levels,
        max_drop=config.export.max_accuracy_drop,
        bisections=s.bisections,
        ranges=config.population.ranges,
        rungs=rung_epochs(config.training.epochs, s.rungs, s.reduction),
        reduction=s.reduction,
        finishes=0 if config.finish.method == "none" else config.finish.candidates,
    )


def finish_limit(config: SearchConfig) -> float:
    """Seconds that a finish may take: as long as its members could one after the other."""
    return config.limits.train_seconds * config.finish.members


def time_limit(config: SearchConfig) -> Callable[[object], float]:
    """Seconds that a worker may take for an item; preparing and concluding have the limit of a training."""

    def limit(item: object) -> float:
        if isinstance(item, Request) and item.stage == PROBE:
            return config.limits.probe_seconds
        return config.limits.train_seconds

    return limit


def own_modules(config: SearchConfig) -> list[str]:
    """What the configuration names of the user's own code: ``package.module:attribute``."""
    return [name for name in (config.network.name, *config.space.criteria) if ":" in name]
