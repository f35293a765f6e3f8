"""The story of a run: from a configuration to a registered network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from torch import nn

from search.archive import Archive, read_archive
from search.config import SearchConfig
from search.conclude import conclude
from search.engine import run_engine
from search.folder import RunFolder, RunRecord
from search.plan import PlanSettings, SearchPlan
from search.preflight import Preflight, check, make_space
from search.report import Finals, front_rows, read_finals
from search.tracking import BackgroundTracker, Tracker, find_store
from search.view import Quiet, View
from spaces.foundation import Foundation
from workers.checkpoint import Deployed, load_candidate
from workers.cluster import ClusterSettings, RayCluster
from workers.evaluation import PROBE, Evaluation, Request
from workers.jobs import RunSettings, VisibleData, base_job, evaluation_job, trunk_job
from workers.probe import ProbeSettings
from workers.train import TrainSettings

WINDOW_PER_WORKER = 16
"""Evaluations asked for ahead of the last commit, per worker (see benchmarks/determinism.py)."""


@dataclass(frozen=True)
class Result:
    """A finished run."""

    folder: RunFolder
    finals: Finals

    def front(self) -> pa.Table:
        """The non-dominated trained candidates with all their measurements."""
        return front_rows(self.finals)

    def archive(self) -> pa.Table:
        """Every evaluation of the run."""
        return read_archive(self.folder.archive)

    def load(self, candidate: str | None = None) -> nn.Module:
        """A trained candidate (default: the chosen one) in eval mode; it takes float32 images in [0, 1].

        Raises:
            CheckpointError: its weights are gone or damaged.
            ValueError: nothing was chosen, and no candidate is named.
        """
        name = candidate or self.finals.chosen
        if name is None:
            raise ValueError("no candidate was chosen in this run; name one of front()['candidate']")
        factory = self.folder.load_config().network.name
        network, about = load_candidate(self.folder.weights / f"{name}.safetensors", (factory,))
        return Deployed(network, about.mean, about.std).eval()


def run_search(config: SearchConfig, view: View | None = None) -> Result:
    """Run a search to its end, or continue it where it was cut off.

    Raises:
        ConfigError, DataError, CheckpointError: bad input, refused before any work.
        ClusterError: the cluster cannot be reached, or its workers cannot start.
    """
    view = view or Quiet()
    view.step("checking configuration, data and network")
    preflight = check(config)
    folder = RunFolder(config.folder)
    cluster_settings = ClusterSettings(**config.cluster.model_dump(), retries=config.limits.retries)
    cluster = RayCluster(cluster_settings, time_limit(config))
    try:
        window = config.search.window or WINDOW_PER_WORKER * cluster.workers
        record = folder.start(config, preflight.space.hash, window)
        with folder.locked():
            finals = _drive(config, preflight, folder, record, cluster, view)
    finally:
        cluster.close()
    return Result(folder, finals)


def resume(path: Path, view: View | None = None) -> Result:
    """Continue the run in ``path``; a finished one is concluded again from its archive."""
    return run_search(RunFolder(path).load_config(), view)


def load_result(path: Path) -> Result:
    """A finished run.

    Raises:
        ConfigError: there is no run.
        ValueError: it has no report yet.
    """
    folder = RunFolder(path)
    folder.load_config()
    return Result(folder, read_finals(folder.report))


def _drive(
    config: SearchConfig,
    preflight: Preflight,
    folder: RunFolder,
    record: RunRecord,
    cluster: RayCluster,
    view: View,
) -> Finals:
    started = time.time()
    settings = run_settings(config, preflight, folder)
    data = VisibleData.of(preflight.splits)
    foundation, base_accuracy = _prepare(config, preflight, settings, data, cluster, view)
    if record.base_seconds == 0:
        record = replace(record, base_seconds=time.time() - started)
        folder.save_record(record)

    plan = SearchPlan(foundation.space, plan_settings(config), base_accuracy, config.seed)
    archive = Archive(folder.archive)
    past = list(archive.evaluations())
    tracker = _tracker(config, record, view)
    for evaluation in past:
        tracker.add(evaluation)

    def committed(evaluation: Evaluation, under_way: int) -> None:
        tracker.add(evaluation)
        view.committed(evaluation, under_way)

    view.searching(plan.total, past, config.search.cost)
    cluster.use(evaluation_job, data, settings, foundation)
    try:
        run_engine(plan, cluster, archive, record.window, config.limits.retries, past, committed)
    finally:
        archive.close()
        view.searched()
    return conclude(config, preflight, folder, record, foundation, plan, cluster, settings, tracker, view, started)


def _prepare(
    config: SearchConfig,
    preflight: Preflight,
    settings: RunSettings,
    data: VisibleData,
    cluster: RayCluster,
    view: View,
) -> tuple[Foundation, float]:
    """Train the base network, grow and score it; both on the cluster."""
    view.step(f"base network {config.network.name}: {preflight.base.params:,} parameters")
    _adopt_weights(config, settings)
    cluster.use(base_job, data, settings)
    [base_accuracy] = cluster.map([None])
    growths = sorted(preflight.space.layouts)
    view.step(f"base network: {base_accuracy:.2%} on validation; scoring it and its {len(growths) - 1} growths")
    cluster.use(trunk_job, data, settings)
    trunks = dict(zip(growths, cluster.map(growths), strict=True))
    space = make_space(config, {growth: trunk.layout for growth, trunk in trunks.items()})
    return Foundation(space, trunks), base_accuracy


def _adopt_weights(config: SearchConfig, settings: RunSettings) -> None:
    """The user's own base weights take the place of base training."""
    if config.network.weights is None or settings.base_weights.exists():
        return
    from workers.tensors import load_tensors, save_tensors

    tensors, _ = load_tensors(Path(config.network.weights))
    settings.base_weights.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(settings.base_weights, tensors, {"role": "base"})


def run_settings(config: SearchConfig, preflight: Preflight, folder: RunFolder) -> RunSettings:
    """What workers need to know of the run."""
    return RunSettings(
        spec=preflight.spec,
        folder=folder.path.absolute(),
        seed=config.seed,
        criteria=config.space.criteria,
        keep=config.network.keep,
        base_training=TrainSettings(**config.base_training.model_dump()),
        training=TrainSettings(**config.training.model_dump()),
        probe=ProbeSettings(config.probe.batch_size, config.probe.latency),
        probe_images=config.probe.images,
        scoring_images=config.probe.scoring_images,
        memory_mb=config.limits.memory_mb,
    )


def plan_settings(config: SearchConfig) -> PlanSettings:
    """The course of the run."""
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
        sensitivity_levels=c.sensitivity_levels,
        max_drop=config.export.max_accuracy_drop,
    )


def time_limit(config: SearchConfig) -> Callable[[object], float]:
    """Seconds that a worker may take for an item; preparing and concluding have the limit of a training."""

    def limit(item: object) -> float:
        if isinstance(item, Request) and item.stage == PROBE:
            return config.limits.probe_seconds
        return config.limits.train_seconds

    return limit


class _NoTracker:
    """Stands in where tracking is off."""

    def add(self, evaluation: Evaluation) -> None:
        """Nothing to log."""

    def close(self, deadline_s: float = 10.0) -> int:
        """Nothing is left."""
        return 0


def _tracker(config: SearchConfig, record: RunRecord, view: View) -> BackgroundTracker | _NoTracker:
    if not config.tracking.enabled:
        return _NoTracker()
    return BackgroundTracker(make_tracker(config, record), view.warn)


def make_tracker(config: SearchConfig, record: RunRecord) -> Tracker:
    """The run's projection into MLflow."""
    store = find_store(config.out, config.tracking.uri)
    return Tracker(store, config.tracking.experiment, record.id, config.name, config.model_dump(mode="json"))
