"""The end of a run: measure what was found, prove it, register it, and report."""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Protocol

import pyarrow as pa
import torch

from search import choice
from search.archive import read_archive
from search.config import SearchConfig
from search.controls import DESCRIPTIONS
from search.drive import Drive
from search.finished import before_finish, finish_notes
from search.folder import RunFolder, RunRecord
from search.front import REFERENCE, Point, hypervolume, normalised
from search.plan import SearchPlan
from search.report import (
    Control,
    DataSet,
    Detection,
    Environment,
    Finals,
    Hypervolume,
    Latency,
    LayerWidth,
    Ledger,
    Measured,
    Sameness,
    Screening,
    judge,
    write_report,
)
from search.report.forecasts import NOT_FOLLOWED
from search.report.wording import plural
from search.schema import evaluations_of
from search.shipping import ship
from spaces.criteria.scoring import left_out
from spaces.foundation import Foundation
from spaces.genome import Genome
from workers.checkpoint import CandidateFile, save_candidate
from workers.evaluate import weights_path
from workers.evaluation import OK, PASSING, PROBE, PROBING, Evaluation, is_control
from workers.export import load_program
from workers.finals import Final, FinalResult
from workers.jobs import final_job
from workers.measure.latency import Latency as Timing
from workers.measure.latency import measure_latency


class Projector(Protocol):
    """What is asked of tracking at the end."""

    def close(self, deadline_s: float = 10.0) -> int: ...


def conclude(run: Drive, foundation: Foundation, plan: SearchPlan, tracker: Projector) -> Finals:
    """Everything after the last commit; repeated as a whole where it was cut off."""
    trainings, chosen = plan.trainings, plan.chosen()
    front = choice.front(trainings, run.config.search.cost)
    if chosen is not None and all(e.request.genome.id != chosen.request.genome.id for e in front):
        front.append(chosen)
    run.view.step(
        f"measuring {plural(len(front), 'network')} of the front: exported, proven the same, on the test split"
    )
    measurements = _measure(run, foundation, front, trainings)
    left = tracker.close(deadline_s=60.0)
    table = read_archive(run.folder.archive)
    screening = _screening(plan, table)
    notes = _notes(left, run.folder, foundation, table, chosen, measurements, screening)
    notes += tuple(finish_notes(trainings, run.config.finish))
    finals = _finals(run, foundation, front, chosen, measurements, trainings, table, screening, notes)
    if run.config.tracking.enabled:
        run.view.step("logging to MLflow, registering")
        finals = ship(run, finals, evaluations_of(table), measurements.front)
    run.view.step("writing the report")
    write_report(table, finals, run.folder.report)
    return finals


@dataclass(frozen=True)
class Measurements:
    """Final measurements.

    Attributes:
        front: by candidate.
        repeats: of control trainings, by number of the evaluation.
        latency: by candidate, and ``base``.
    """

    base: FinalResult
    front: dict[str, FinalResult]
    repeats: dict[int, FinalResult]
    latency: dict[str, Timing]


def _measure(
    run: Drive, foundation: Foundation, front: Sequence[Evaluation], trainings: Sequence[Evaluation]
) -> Measurements:
    config, settings = run.config, run.settings
    onnx = "onnx" in config.export.formats
    controls = [e for e in trainings if e.ok and is_control(e.request.origin)]
    items = [Final(_save_base(run, foundation), onnx=onnx, mixture=config.base_training.loss == "l_gm")]
    mixture = config.training.loss == "l_gm"
    items += [Final(weights_path(settings.folder, e.request), onnx=onnx, mixture=mixture) for e in front]
    items += [Final(weights_path(settings.folder, e.request), full=False) for e in controls]
    splits = run.preflight.splits
    run.cluster.use(final_job, splits.validation, splits.test, settings, foundation)
    base, *results = run.cluster.map(items)
    run.cluster.close()  # latency is measured on a machine that does nothing else
    by_candidate = {e.request.genome.id: r for e, r in zip(front, results, strict=False)}
    repeats = {e.request.number: r for e, r in zip(controls, results[len(front) :], strict=True)}
    programs = {"base": base.program, **{name: r.program for name, r in by_candidate.items()}}
    modules = {name: load_program(path).module() for name, path in programs.items() if path is not None}
    latency = {}
    if "base" in modules:
        latency = measure_latency(modules, settings.spec.shape, 1, "cpu", threads=config.cluster.threads)
    return Measurements(base, by_candidate, repeats, latency)


def _save_base(run: Drive, foundation: Foundation) -> Path:
    """The base network as a candidate of its own: nothing grown, nothing removed."""
    trunk = foundation.trunks[min(foundation.trunks)]
    about = CandidateFile(
        spec=run.settings.spec,
        keep=run.settings.keep,
        class_names=run.preflight.splits.train.class_names,
        mean=tuple(map(float, run.data.mean)),
        std=tuple(map(float, run.data.std)),
    )
    path = run.settings.folder / "weights" / "base-network.safetensors"
    save_candidate(path, trunk.network, about)
    return path


def _finals(
    run: Drive,
    foundation: Foundation,
    front: Sequence[Evaluation],
    chosen: Evaluation | None,
    measurements: Measurements,
    trainings: Sequence[Evaluation],
    table: pa.Table,
    screening: Screening | None,
    notes: tuple[str, ...],
) -> Finals:
    config, m = run.config, measurements
    cost = config.search.cost
    again = _repeats("control:chosen", trainings, m.repeats)
    chosen_test = tuple(r.test_accuracy for _, r in again)
    controls = tuple(_controls(trainings, m.repeats))
    return Finals(
        name=config.name,
        seed=config.seed,
        strategy=config.search.strategy,
        data=_data_set(run),
        cost=cost,
        budget=foundation.space.budget.limits(),
        base=_measured("base", "base", None, m.base, m.latency, foundation),
        front=tuple(
            replace(
                _measured(g.id, e.request.origin, g, m.front[g.id], m.latency, foundation),
                before_finish=before_finish(e, trainings),
            )
            for e in front
            for g in (e.request.genome,)
        ),
        chosen=chosen.request.genome.id if chosen else None,
        chosen_test=chosen_test,
        controls=controls,
        verdicts=tuple(judge(chosen_test, c.test, c.name) for c in controls) if chosen_test else (),
        hypervolume=_hypervolumes(front, m.front, m.base, cost),
        ledger=_ledger(table, run.record, controls, chosen_test, screening, run.started),
        environment=_environment(config),
        notes=notes,
        registered=run.record.registered,
        screening=screening,
    )


def _screening(plan: SearchPlan, table: pa.Table) -> Screening | None:
    """The surrogate's part in the search.

    The archive does not say which probes the surrogate proposed. All of them are taken off what it looked at, so that
    what it passed over is rather put too low.
    """
    if plan.surrogate is None:
        return None
    rows = zip(table.column("stage").to_pylist(), table.column("origin").to_pylist(), strict=True)
    probes = sum(stage == PROBE and not is_control(origin) for stage, origin in rows)
    return Screening(max(plan.surrogate.proposed - probes, 0), plan.surrogate.record.trusted)


def _data_set(run: Drive) -> DataSet:
    splits = run.preflight.splits
    sizes = (len(splits.train), len(splits.validation), len(splits.test))
    return DataSet(run.config.data.source, *sizes, splits.train.shape, splits.train.class_names)


def _environment(config: SearchConfig) -> Environment:
    processor = platform.processor() or platform.machine()
    return Environment(torch.__version__, platform.python_version(), processor, config.cluster.threads)


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
        detection={kind: Detection(d.likelihood, d.softmax) for kind, d in result.detection.items()},
    )


def _latency(timing: Timing) -> Latency:
    ms, ratio, how = timing.ms, timing.ratio, timing.conditions
    times = (ms.median, ms.low, ms.high, ratio.median, ratio.low, ratio.high)
    return Latency(*times, how.batch_size, how.dtype, how.threads, how.device)


def _repeats(
    origin: str, trainings: Iterable[Evaluation], repeats: dict[int, FinalResult]
) -> list[tuple[Evaluation, FinalResult]]:
    """Finished trainings of a control with their final measurements, by seed."""
    found = [e for e in trainings if e.request.origin == origin and e.request.number in repeats]
    return [(e, repeats[e.request.number]) for e in sorted(found, key=lambda e: e.request.repeat)]


def _controls(trainings: Sequence[Evaluation], repeats: dict[int, FinalResult]) -> Iterable[Control]:
    for name, about in DESCRIPTIONS.items():
        runs = _repeats(f"control:{name}", trainings, repeats)
        if runs:
            size = {name: round(mean(e.metrics[name] for e, _ in runs)) for name in ("params", "macs", "bytes")}
            test = tuple(r.test_accuracy for _, r in runs)
            validation = tuple(r.validation_accuracy for _, r in runs)
            seconds = sum(e.outcome.seconds for e, _ in runs)
            yield Control(name, about, **size, test=test, validation=validation, seconds=seconds)


def _hypervolumes(
    front: Sequence[Evaluation], results: dict[str, FinalResult], base: FinalResult, cost: str
) -> Hypervolume:
    def volume(accuracy: dict[str, float]) -> float:
        errors = [(1 - accuracy[e.request.genome.id], e.metrics[cost]) for e in front]
        return hypervolume(Point(0.0, normalised(error, size, getattr(base, cost))) for error, size in errors)

    seen = {e.request.genome.id: e.metrics["accuracy"] for e in front}
    held_out = {name: result.test_accuracy for name, result in results.items()}
    return Hypervolume(volume(seen), volume(held_out), (REFERENCE, REFERENCE))


def _ledger(
    table: pa.Table,
    record: RunRecord,
    controls: Sequence[Control],
    chosen_test: Sequence[float],
    screening: Screening | None,
    started: float,
) -> Ledger:
    rows = table.select(["stage", "origin", "status", "reason", "seconds"]).to_pylist()
    own = [r for r in rows if not is_control(r["origin"])]
    probes = [r["seconds"] for r in own if r["stage"] in PROBING]
    trainings = [r["seconds"] for r in own if r["stage"] not in PROBING]
    spent = sum(probes) + sum(trainings)
    uniform = next((c for c in controls if c.name == "uniform"), None)
    gain = math.nan
    if uniform is not None and chosen_test and spent > 0:
        gain = (sum(chosen_test) / len(chosen_test) - uniform.mean_test) / (spent / 3600)
    return Ledger(
        base_seconds=record.base_seconds,
        probe_seconds=sum(probes),
        training_seconds=sum(trainings),
        control_seconds=sum(r["seconds"] for r in rows if is_control(r["origin"])),
        probes=len(probes),
        trainings=sum(r["stage"] not in PASSING for r in own),
        failures=dict(Counter(r["reason"] for r in rows if r["status"] != OK)),
        gain_per_hour=gain,
        wall_seconds=time.time() - started,
        saved_seconds=screening.passed_over * sum(probes) / len(probes) if screening and probes else math.nan,
    )


def _notes(
    left: int,
    folder: RunFolder,
    foundation: Foundation,
    table: pa.Table,
    chosen: Evaluation | None,
    measurements: Measurements,
    screening: Screening | None,
) -> tuple[str, ...]:
    notes = []
    if left:
        notes.append(
            f"MLflow did not answer: {left} evaluations are not logged; `niwaki sync {folder.path}` catches up."
        )
    problems = {r.problem: name for name, r in measurements.front.items() if r.problem}
    notes += [
        f"{name} could not be exported, and was measured as it is: {problem}" for problem, name in problems.items()
    ]
    if chosen is None:
        notes.append("No candidate was trained within the budget, so none was chosen.")
    if "worker_lost" in table.column("reason").unique().to_pylist():
        notes.append("Some evaluations lost their worker more often than the limit allows; see the failures.")
    if screening is not None and not screening.trusted:
        notes.append(f"{NOT_FOLLOWED[0].upper()}{NOT_FOLLOWED[1:]}.")
    silent = left_out(foundation.trunks[min(foundation.trunks)].ranks, foundation.space.criteria)
    if silent:
        groups = "; ".join(f"{', '.join(names)} of {group}" for group, names in silent.items())
        notes.append(f"Criteria that do not tell a group's channels apart, left out of its blend: {groups}.")
    return tuple(notes)
