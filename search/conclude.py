"""The end of a run: measure what was found, prove it, register it, and report."""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from search import choice
from search.archive import read_archive
from search.config import SearchConfig
from search.controls import DESCRIPTIONS
from search.folder import RunFolder, RunRecord
from search.front import REFERENCE, Point, hypervolume, normalised
from search.plan import SearchPlan
from search.preflight import Preflight
from search.report import (
    Control,
    DataSet,
    Environment,
    Finals,
    Hypervolume,
    Latency,
    LayerWidth,
    Ledger,
    Measured,
    Sameness,
    judge,
    write_report,
)
from search.view import View
from spaces.foundation import Foundation
from spaces.genome import Genome
from workers.checkpoint import CandidateFile, save_candidate
from workers.cluster import RayCluster
from workers.data import Splits
from workers.evaluate import weights_path
from workers.evaluation import PROBE, Evaluation
from workers.export import load_program
from workers.finals import Final, FinalResult
from workers.jobs import RunSettings, final_job
from workers.measure.latency import Latency as Timing
from workers.measure.latency import measure_latency


class Projector(Protocol):
    """What is asked of tracking at the end."""

    def close(self, deadline_s: float = 10.0) -> int: ...


def conclude(
    config: SearchConfig,
    preflight: Preflight,
    folder: RunFolder,
    record: RunRecord,
    foundation: Foundation,
    plan: SearchPlan,
    cluster: RayCluster,
    settings: RunSettings,
    tracker: Projector,
    view: View,
    started: float,
) -> Finals:
    """Everything after the last commit; repeated as a whole where it was cut off."""
    from search.shipping import ship

    evaluations = plan.committed
    chosen = plan.chosen()
    front = choice.front(evaluations, config.search.cost)
    if chosen is not None and all(e.request.genome.id != chosen.request.genome.id for e in front):
        front.append(chosen)
    view.step(f"measuring {len(front)} candidates of the front on the test split, exported and proven")
    base, results, repeats = _measure(config, preflight, foundation, front, evaluations, cluster, settings)
    cluster.close()  # latency is measured on a machine that does nothing else
    timings = _time(config, settings, base, results)
    view.step("logging to MLflow")
    left = tracker.close(deadline_s=60.0)
    notes = _notes(left, folder, evaluations, chosen)
    finals = _finals(
        config, preflight, record, foundation, front, chosen, base, results, repeats, timings, evaluations, started, notes
    )
    if chosen is not None and config.tracking.enabled:
        finals = ship(config, folder, record, finals, results[chosen.request.genome.id], preflight.splits, view)
    view.step("writing the report")
    write_report(read_archive(folder.archive), finals, folder.report)
    return finals


def _measure(
    config: SearchConfig,
    preflight: Preflight,
    foundation: Foundation,
    front: Sequence[Evaluation],
    evaluations: Sequence[Evaluation],
    cluster: RayCluster,
    settings: RunSettings,
) -> tuple[FinalResult, dict[str, FinalResult], dict[int, FinalResult]]:
    """Final measurements of the base network, of the front by candidate, and of control trainings by number."""
    onnx = "onnx" in config.export.formats
    base_file = _save_base(foundation, preflight, settings)
    controls = [e for e in evaluations if e.ok and e.request.stage != PROBE and e.request.origin.startswith("control:")]
    items = [Final(base_file, onnx=onnx)]
    items += [Final(weights_path(settings.folder, e.request), onnx=onnx) for e in front]
    items += [Final(weights_path(settings.folder, e.request), full=False) for e in controls]
    cluster.use(final_job, preflight.splits.validation, preflight.splits.test, settings, foundation)
    results = cluster.map(items)
    by_candidate = {e.request.genome.id: r for e, r in zip(front, results[1:], strict=False)}
    by_number = {e.request.number: r for e, r in zip(controls, results[1 + len(front) :], strict=True)}
    return results[0], by_candidate, by_number


def _save_base(foundation: Foundation, preflight: Preflight, settings: RunSettings) -> Path:
    """The base network as a candidate of its own: nothing grown, nothing removed."""
    trunk = foundation.trunks[min(foundation.trunks)]
    mean, std = preflight.splits.statistics()
    about = CandidateFile(
        spec=settings.spec,
        keep=settings.keep,
        class_names=preflight.splits.train.class_names,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
    )
    path = settings.folder / "weights" / "base-network.safetensors"
    save_candidate(path, trunk.network, about)
    return path


def _time(
    config: SearchConfig, settings: RunSettings, base: FinalResult, results: dict[str, FinalResult]
) -> dict[str, Timing]:
    programs = {"base": base.program, **{name: r.program for name, r in results.items()}}
    modules = {name: load_program(path).module() for name, path in programs.items() if path is not None}
    return measure_latency(modules, settings.spec.shape, 1, "cpu", threads=config.cluster.threads)


def _finals(
    config: SearchConfig,
    preflight: Preflight,
    record: RunRecord,
    foundation: Foundation,
    front: Sequence[Evaluation],
    chosen: Evaluation | None,
    base: FinalResult,
    results: dict[str, FinalResult],
    repeats: dict[int, FinalResult],
    timings: dict[str, Timing],
    evaluations: Sequence[Evaluation],
    started: float,
    notes: tuple[str, ...],
) -> Finals:
    cost = config.search.cost
    measured = [
        _measured(e.request.genome.id, e.request.origin, e.request.genome, results[e.request.genome.id], timings, foundation)
        for e in front
    ]
    base_measured = _measured("base", "base", None, base, timings, foundation)
    again = _repeats("control:chosen", evaluations, repeats)
    chosen_test = tuple(r.test_accuracy for _, r in again)
    controls = tuple(_controls(evaluations, repeats, foundation))
    verdicts = tuple(judge(chosen_test, c.test, c.name) for c in controls) if chosen_test else ()
    shape = preflight.splits.train.shape
    splits = preflight.splits
    return Finals(
        name=config.name,
        seed=config.seed,
        strategy=config.search.strategy,
        data=DataSet(
            config.data.source, len(splits.train), len(splits.validation), len(splits.test), shape, splits.train.class_names
        ),
        cost=cost,
        budget=foundation.space.budget.limits(),
        base=base_measured,
        front=tuple(measured),
        chosen=chosen.request.genome.id if chosen else None,
        chosen_test=chosen_test,
        controls=controls,
        verdicts=verdicts,
        hypervolume=_hypervolumes(front, results, base, cost),
        ledger=_ledger(evaluations, record, controls, chosen_test, started),
        environment=Environment(
            torch.__version__, platform.python_version(), platform.processor() or platform.machine(), config.cluster.threads
        ),
        notes=notes,
        registered=record.registered,
    )


def _measured(
    name: str,
    origin: str,
    genome: Genome | None,
    result: FinalResult,
    timings: dict[str, Timing],
    foundation: Foundation,
) -> Measured:
    widths: tuple[LayerWidth, ...] = ()
    if genome is not None:
        groups = foundation.trunk(genome).layout.groups
        widths = tuple(LayerWidth(g.name, g.size, result.widths.get(g.name, g.size)) for g in groups)
    comparisons = result.sameness.comparisons if result.sameness else ()
    return Measured(
        candidate=name,
        origin=origin,
        growth=genome.growth if genome else (),
        params=result.params,
        macs=result.macs,
        bytes=result.bytes,
        validation_accuracy=result.validation_accuracy,
        test_accuracy=result.test_accuracy,
        latency=_latency(timings[name]) if name in timings else None,
        sameness={c.name: Sameness(c.difference, c.agreement) for c in comparisons},
        widths=widths,
    )


def _latency(timing: Timing) -> Latency:
    ms, ratio, how = timing.ms, timing.ratio, timing.conditions
    return Latency(
        ms.median, ms.low, ms.high, ratio.median, ratio.low, ratio.high, how.batch_size, how.dtype, how.threads, how.device
    )


def _repeats(
    origin: str, evaluations: Iterable[Evaluation], repeats: dict[int, FinalResult]
) -> list[tuple[Evaluation, FinalResult]]:
    """Finished trainings of a control with their final measurements, by seed."""
    found = [e for e in evaluations if e.request.origin == origin and e.request.number in repeats]
    return [(e, repeats[e.request.number]) for e in sorted(found, key=lambda e: e.request.repeat)]


def _controls(
    evaluations: Sequence[Evaluation], repeats: dict[int, FinalResult], foundation: Foundation
) -> Iterable[Control]:
    for name, about in DESCRIPTIONS.items():
        runs = _repeats(f"control:{name}", evaluations, repeats)
        if runs:
            cost = foundation.space.cost(runs[0][0].request.genome)
            test = tuple(r.test_accuracy for _, r in runs)
            validation = tuple(r.validation_accuracy for _, r in runs)
            seconds = sum(e.outcome.seconds for e, _ in runs)
            yield Control(name, about, cost.params, cost.macs, cost.bytes, test, validation, seconds)


def _hypervolumes(
    front: Sequence[Evaluation], results: dict[str, FinalResult], base: FinalResult, cost: str
) -> Hypervolume:
    def volume(accuracy: dict[str, float]) -> float:
        return hypervolume(
            Point(0.0, normalised(1 - accuracy[e.request.genome.id], e.metrics[cost], getattr(base, cost))) for e in front
        )

    seen = {e.request.genome.id: e.metrics["accuracy"] for e in front}
    held_out = {name: result.test_accuracy for name, result in results.items()}
    return Hypervolume(volume(seen), volume(held_out), (REFERENCE, REFERENCE))


def _ledger(
    evaluations: Sequence[Evaluation],
    record: RunRecord,
    controls: Sequence[Control],
    chosen_test: Sequence[float],
    started: float,
) -> Ledger:
    own = [e for e in evaluations if not e.request.origin.startswith("control:")]
    probes = [e for e in own if e.request.stage == PROBE]
    trainings = [e for e in own if e.request.stage != PROBE]
    spent = sum(e.outcome.seconds for e in own)
    uniform = next((c for c in controls if c.name == "uniform"), None)
    gain = math.nan
    if uniform is not None and chosen_test and spent > 0:
        gain = (sum(chosen_test) / len(chosen_test) - uniform.mean_test) / (spent / 3600)
    return Ledger(
        base_seconds=record.base_seconds,
        probe_seconds=sum(e.outcome.seconds for e in probes),
        training_seconds=sum(e.outcome.seconds for e in trainings),
        control_seconds=sum(e.outcome.seconds for e in evaluations if e.request.origin.startswith("control:")),
        probes=len(probes),
        trainings=len(trainings),
        failures=dict(Counter(e.outcome.reason for e in evaluations if not e.ok)),
        gain_per_hour=gain,
        wall_seconds=time.time() - started,
    )


def _notes(left: int, folder: RunFolder, evaluations: Sequence[Evaluation], chosen: Evaluation | None) -> tuple[str, ...]:
    notes = []
    if left:
        notes.append(f"MLflow did not answer: {left} evaluations are not logged yet; `niwaki sync {folder.path}` catches up.")
    if chosen is None:
        notes.append("No candidate was trained within the budget, so none was chosen.")
    if any(e.outcome.reason == "worker_lost" for e in evaluations):
        notes.append("Some evaluations lost their worker more often than the limit allows; see the failures.")
    return tuple(notes)


def with_registered(finals: Finals, uri: str | None, notes: Iterable[str] = ()) -> Finals:
    """``finals`` with the registered model, or with why there is none."""
    return replace(finals, registered=uri, notes=(*finals.notes, *notes))
