"""The story of a run: from a configuration to a registered network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from torch import nn

from search.archive import Archive, read_archive
from search.conclude import conclude
from search.config import SearchConfig
from search.drive import Drive, finish_limit, own_modules, plan_settings, run_settings, time_limit
from search.engine import run_engine
from search.fetching import agree, place_of
from search.finishing import FinishingCluster
from search.folder import RunFolder
from search.forecast import Forecast, forecast
from search.inspection import Inspection
from search.metrics import metered
from search.mirror import mirrored
from search.plan import SearchPlan, course_counts
from search.preflight import Preflight, check
from search.report import Finals, front_rows, wording
from search.run_tracking import background_tracker
from search.standing import noted
from search.start import starting_widths
from search.surrogate.guided import Guidance, picks_for
from search.surrogate.warm import earlier_lessons, keep_earlier, read_earlier
from search.view import Course, Quiet, View
from search.window import default_window
from spaces.foundation import Foundation, condensed
from workers.atomic import remove_leftovers
from workers.checkpoint import Deployed, load_candidate
from workers.cluster import ClusterSettings, RayCluster
from workers.evaluation import FINISH, Evaluation, Request
from workers.finish.candidate import finishing_of, states_of
from workers.jobs import VisibleData, base_job, memory_job, trunk_job
from workers.member import member_path
from workers.prepare import adopt_base
from workers.room import per_gpu, share
from workers.shelf import STATE


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
        weights = self.folder.weights / f"{self.finals.stem(name)}.safetensors"
        network, about = load_candidate(weights, (factory,))
        return Deployed(network, about.mean, about.std).eval()


def run_search(config: SearchConfig, view: View | None = None) -> Result:
    """Run a search to its end, or continue it where it was cut off.

    Raises:
        ConfigError, DataError, CheckpointError: bad input, refused before any work.
        ClusterError: the cluster cannot be reached, or its workers cannot start.
        StorageError: storage does not answer at the start, or not all could be published in the end.
    """
    view = view or Quiet()
    view.step("checking configuration, data and network")
    preflight = check(config)
    folder = RunFolder(config.folder)
    place = place_of(config)
    if place is not None:
        agree(place, config, view.step)
    folder.check(config, preflight.space.hash)
    earlier = read_earlier(config, preflight.space, folder)
    expected = forecast(preflight, course_counts(preflight.space, plan_settings(config)))
    for line in Inspection(preflight, expected).lines():
        view.step(line)
    settings = ClusterSettings(**config.cluster.model_dump(), retries=config.limits.retries)
    cluster = RayCluster(settings, time_limit(config), own_modules(config), view.warn)
    try:
        _pack(cluster, preflight, folder, view)
        window = config.search.window or default_window(cluster.workers, config.search.probes, config.search.strategy)
        record = folder.start(config, preflight.space.hash, window)
        with folder.locked():
            remove_leftovers(folder.path)  # before threads of this driver write there
            with (
                mirrored(folder, place, config.storage, view) as mirror,
                noted(folder, view) as noting,
                metered(noting, cluster, config.name, record.id) as watched,
            ):
                mirror.warn(noting)
                keep_earlier(earlier, folder)
                finals = _search(Drive(preflight, folder, record, cluster, watched, mirror), expected)
    finally:
        cluster.close()
    return Result(folder, finals)


def _pack(cluster: RayCluster, preflight: Preflight, folder: RunFolder, view: View) -> None:
    """Let as many workers share a GPU as its memory holds, where the configuration leaves that to us."""
    if not cluster.measures:
        return
    data, settings = VisibleData.of(preflight.splits), run_settings(preflight, folder)
    cluster.use(memory_job, data, settings, sorted(preflight.space.layouts))
    [memory] = cluster.map([None])
    if memory is None:
        cluster.pack(0.0)
        view.warn("GPUs: PyTorch sees none of those there are (is it a CPU build, or their driver old?); CPUs are used")
        return
    part = share(memory.used, memory.total)
    cluster.pack(part)
    view.step(
        f"GPUs: the largest network takes {memory.used / 2**30:.1f} of {memory.total / 2**30:.0f} GiB; "
        f"{wording.plural(per_gpu(part), 'worker')} to each"
    )


def resume(path: Path, view: View | None = None) -> Result:
    """Continue the run in ``path``; a finished one is concluded again from its archive."""
    return run_search(RunFolder(path).load_config(), view)


def load_result(path: Path) -> Result:
    """A finished run.

    Raises:
        ConfigError: there is no run, it is not finished, or its files are damaged.
    """
    folder = RunFolder(path)
    folder.load_config()
    return Result(folder, folder.load_finals())


def _search(run: Drive, expected: Forecast) -> Finals:
    tracker = background_tracker(run.config, run.record, run.view)
    foundation, base_accuracy = _prepare(run)
    settings, seed = plan_settings(run.config), run.config.seed
    plan = SearchPlan(foundation.space, settings, base_accuracy, seed, _guidance(run), foundation, run.record.window)
    archive = Archive(run.folder.archive)

    def committed(evaluation: Evaluation, under_way: int) -> None:
        run.mirror.check()
        tracker.add(evaluation)
        _forget_finished(run, evaluation)
        run.view.committed(evaluation, under_way)
        run.mirror.remove([member_path(run.folder.path, name) for name in plan.retired()])

    def replayed() -> Iterator[Evaluation]:
        for evaluation in archive.evaluations():
            tracker.add(evaluation)
            _forget_finished(run, evaluation)
            run.view.replayed(evaluation)
            yield evaluation

    run.view.searching(_course(run, expected, base_accuracy))
    cluster = FinishingCluster(
        run.cluster, run.data, run.settings, foundation, finish_limit(run.config), partial(_say_finish, run)
    )
    try:
        run_engine(plan, cluster, archive, run.record.window, run.config.limits.retries, replayed(), committed)
    finally:
        archive.close()
        run.view.searched()
    run.mirror.remove([run.folder.weights / f"{name}{STATE}" for name in plan.halted()])
    return conclude(run, foundation, plan, tracker)


def _say_finish(run: Drive, request: Request) -> None:
    run.view.step(f"finishing {request.genome.id}: {run.config.finish.in_words}")


def _forget_finished(run: Drive, evaluation: Evaluation) -> None:
    """What a finish needed to go on after a crash is of no use once its result is in the archive."""
    if evaluation.request.stage == FINISH:
        run.mirror.remove(states_of(finishing_of(evaluation.request, run.folder.path)))


def _guidance(run: Drive) -> Guidance | None:
    if not run.config.steered:
        return None
    earlier = earlier_lessons(run.folder)
    if run.config.surrogate.warm_start:
        run.view.step(f"forecasts learn from {len(earlier)} trainings of earlier runs")
    splits = run.preflight.splits
    return Guidance(len(splits.validation), starting_widths(splits.train), tuple(earlier), picks_for(run.record.window))


def _prepare(run: Drive) -> tuple[Foundation, float]:
    """Train the base network, grow and score it; both on the cluster. Its validation accuracy is the second result."""
    started = time.time()
    if run.config.network.weights is not None:
        adopt_base(Path(run.config.network.weights), run.settings.base_weights)
    run.view.step(f"base network: {'reading' if run.settings.base_weights.exists() else 'training'} it")
    run.cluster.use(base_job, run.data, run.settings)
    [accuracy] = run.cluster.map([None])
    growths = sorted(run.preflight.space.layouts)
    run.view.step(f"base network: {accuracy:.2%} on validation; scoring its channels")
    run.cluster.use(trunk_job, run.data, run.settings, run.preflight.space.layouts)
    trunks = dict(zip(growths, run.cluster.map(growths), strict=True))
    if run.record.base_seconds == 0:
        run.note(base_seconds=time.time() - started)
    space, clusters = run.preflight.space, run.config.space.clusters
    return Foundation(space if clusters is None else condensed(space, trunks, clusters), trunks), accuracy


def _course(run: Drive, expected: Forecast, base_accuracy: float) -> Course:
    return Course(
        counts=expected.counts,
        seconds=expected.each,
        workers=run.cluster.workers,
        cost=run.config.search.cost,
        base_cost=getattr(run.preflight.base, run.config.search.cost),
        base_accuracy=base_accuracy,
    )
