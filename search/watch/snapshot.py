"""One look at a run's folder: all that is said about a run on the terminal, as JSON and on the live page."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from search.archive import read_archive
from search.config import SearchConfig
from search.folder import RunFolder, RunRecord
from search.front import REFERENCE, Point, front_indices
from search.report import Finals
from search.report.failures import Failure, count_failures
from search.report.forecasts import Forecasts, judge_forecasts
from search.report.progress import Progress, replay
from search.report.scene import Spot, spots_of
from search.schema import SCHEMA
from search.standing import CONCLUDING, ENDED, FINISHED, Standing, phase_of, read_standing
from search.surrogate.record import FEWEST, ROLLING, rank_correlation
from search.view import Course, seconds_left
from workers.evaluation import FINISH, INTERVAL, OK, PROBE, PROBING, RECIPES, RUNG, SCRATCH, TRAIN, TUNE, is_control

RATE_SECONDS = 300.0
"""The rate is that of the last five minutes."""

STAGES = (PROBE, INTERVAL, TUNE, RUNG, TRAIN, SCRATCH, *RECIPES, FINISH)


@dataclass(frozen=True)
class Stage:
    """Evaluations of one stage; ``expected`` is None where the run's course is not known."""

    name: str
    done: int
    expected: int | None
    failed: int
    seconds: float


@dataclass(frozen=True)
class Member:
    """A candidate of the front so far; ``share`` and ``to_base`` (accuracy points) are NaN without a base network."""

    candidate: str
    cost: float
    accuracy: float
    share: float
    to_base: float


@dataclass(frozen=True)
class Worked:
    """What one worker process did; ``last`` is when its last result was committed, seconds since the epoch."""

    name: str
    done: int
    failed: int
    seconds: float
    last: float


@dataclass(frozen=True)
class Spent:
    """Device-seconds by purpose."""

    base: float
    probes: float
    trainings: float
    controls: float

    @property
    def total(self) -> float:
        return self.base + self.probes + self.trainings + self.controls


@dataclass(frozen=True)
class Judged:
    """Kendall's τ of the last :data:`ROLLING` forecasts, and of the probes alone, after so many trainings."""

    trainings: int
    forecasts: float
    probes: float


@dataclass(frozen=True)
class Snapshot:
    """A run as its folder tells it.

    Attributes:
        phase: see :mod:`search.standing`.
        taken: when it was looked at; ``last`` when a row was committed last (NaN: none); seconds since the epoch.
        rate: commits per second of late, or of the whole search where it is over.
        left: seconds by the clock that the search should yet take; NaN where nothing is known or nothing is left.
        progress: hypervolume; None while the base network's cost is not known.
        probes, trained: what was measured, for the picture; a population's members stand for probes.
        passing: what those are called: probe or member.
        finals: final measurements of a finished run.
        table: the archive as it was read, without embeddings.
    """

    path: Path
    config: SearchConfig
    phase: str
    standing: Standing | None
    taken: float
    last: float
    stages: tuple[Stage, ...]
    rate: float
    left: float
    front: tuple[Member, ...]
    progress: Progress | None
    forecasts: Forecasts
    record: tuple[Judged, ...]
    failures: tuple[Failure, ...]
    workers: tuple[Worked, ...]
    spent: Spent
    probes: tuple[Spot, ...]
    passing: str
    trained: tuple[Spot, ...]
    finals: Finals | None
    table: pa.Table

    @property
    def done(self) -> int:
        return sum(stage.done for stage in self.stages)

    @property
    def failed(self) -> int:
        return sum(stage.failed for stage in self.stages)

    @property
    def expected(self) -> int | None:
        """Evaluations of the whole course; None where it is not known."""
        counts = [stage.expected for stage in self.stages]
        return None if not counts or None in counts else max(self.done, sum(c for c in counts if c is not None))

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of its own accord."""
        return self.phase in ENDED

    @property
    def hypervolume(self) -> float:
        return math.nan if self.progress is None else self.progress.final


def look(path: Path) -> Snapshot:
    """Read a run's folder; nothing is written there.

    Raises:
        ConfigError: there is no run, or its files are damaged.
        ArchiveError: the archive is damaged, or another version wrote it.
    """
    folder = RunFolder(path)
    config, record = folder.load_config(), folder.load_record()
    standing = read_standing(folder)
    phase = phase_of(folder, standing)
    finals = folder.load_finals() if phase == FINISHED and folder.finished else None
    table = (read_archive(folder.archive) if folder.archive.is_dir() else SCHEMA.empty_table()).drop(["embedding"])
    course = standing.course if standing else None
    stages = _stages(table, course)
    cost, base_cost, base_accuracy = config.search.cost, *_base(finals, course)
    taken = time.time()
    times = [t for t in table.column("committed_at").to_pylist() if t is not None]
    forecasts = judge_forecasts(table)
    members = spots_of(table, INTERVAL, cost)
    return Snapshot(
        path=folder.path,
        config=config,
        phase=phase,
        standing=standing,
        taken=taken,
        last=max(times, default=math.nan),
        stages=stages,
        rate=_rate(times, taken, phase in (*ENDED, CONCLUDING)),
        left=_left(course, stages) if phase not in (*ENDED, CONCLUDING) else math.nan,
        front=_front(table, cost, base_cost, base_accuracy),
        progress=replay(table, cost, base_cost, (REFERENCE, REFERENCE)) if base_cost > 0 else None,
        forecasts=forecasts,
        record=tuple(_judge(forecasts)),
        failures=count_failures(table),
        workers=_workers(table),
        spent=_spent(table, record),
        probes=members or spots_of(table, PROBE, cost),
        passing="member" if members else "probe",
        trained=spots_of(table, TRAIN, cost),
        finals=finals,
        table=table,
    )


def _base(finals: Finals | None, course: Course | None) -> tuple[float, float]:
    """Cost and validation accuracy of the base network, NaN where they are not known yet."""
    if finals is not None:
        return float(finals.base.cost(finals.cost)), finals.base.validation_accuracy
    return (float(course.base_cost), course.base_accuracy) if course else (math.nan, math.nan)


def _stages(table: pa.Table, course: Course | None) -> tuple[Stage, ...]:
    rows = _rows(table, "stage", "status", "seconds")
    found: dict[str, list[tuple[str, float]]] = {name: [] for name in STAGES}
    for row in rows:
        found.setdefault(row["stage"], []).append((row["status"], row["seconds"] or 0.0))
    expected = {} if course is None else dict(course.counts)
    return tuple(
        Stage(
            name,
            len(ended),
            None if course is None else expected.get(name, 0),
            sum(status != OK for status, _ in ended),
            sum(seconds for _, seconds in ended),
        )
        for name, ended in found.items()
        if ended or expected.get(name)
    )


def _rate(times: list[float], taken: float, over: bool) -> float:
    if not times:
        return 0.0
    first, last = min(times), max(times)
    if over:
        return len(times) / (last - first) if last > first else math.nan
    start = max(taken - RATE_SECONDS, first)
    return sum(t >= start for t in times) / max(taken - start, 1.0)


def _left(course: Course | None, stages: tuple[Stage, ...]) -> float:
    if course is None:
        return math.nan
    return seconds_left(course, {s.name: s.done for s in stages}, {s.name: s.seconds for s in stages})


def _front(table: pa.Table, cost: str, base_cost: float, base_accuracy: float) -> tuple[Member, ...]:
    """The front of the search's own first trainings within budget, cheapest first, as :func:`search.choice.front`.

    Of a candidate that was finished, the more accurate of training and finish.
    """
    names = ("candidate", "stage", "origin", "repeat", "status", "violation", "accuracy", cost)
    rows = [
        row
        for row in _rows(table, *names)
        if row["stage"] in (TRAIN, FINISH)
        and row["status"] == OK
        and not row["repeat"]
        and not is_control(row["origin"])
        if row["violation"] is not None and row["violation"] <= 0
        if row["accuracy"] is not None and row[cost] is not None
    ]
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["candidate"] not in found or row["accuracy"] > found[row["candidate"]]["accuracy"]:
            found[row["candidate"]] = row
    rows = list(found.values())
    points = [Point(0.0, (1 - row["accuracy"], float(row[cost]))) for row in rows]
    members = [
        Member(
            rows[i]["candidate"],
            float(rows[i][cost]),
            rows[i]["accuracy"],
            rows[i][cost] / base_cost if base_cost else math.nan,
            100 * (rows[i]["accuracy"] - base_accuracy),
        )
        for i in front_indices(points)
    ]
    return tuple(sorted(members, key=lambda m: m.cost))


def _judge(forecasts: Forecasts) -> Iterator[Judged]:
    pairs = forecasts.pairs
    for end in range(FEWEST, len(pairs) + 1):
        late = pairs[max(0, end - ROLLING) : end]
        ours = rank_correlation([(p.forecast, p.trained) for p in late])
        probed = [(p.probed, p.trained) for p in late if math.isfinite(p.probed)]
        yield Judged(end, ours, rank_correlation(probed))


def _workers(table: pa.Table) -> tuple[Worked, ...]:
    """All that ever committed something, the latest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(table, "worker", "status", "seconds", "committed_at"):
        found.setdefault(row["worker"] or "", []).append(row)
    workers = [
        Worked(
            name,
            len(rows),
            sum(r["status"] != OK for r in rows),
            sum(r["seconds"] or 0.0 for r in rows),
            max(r["committed_at"] for r in rows),
        )
        for name, rows in found.items()
        if name
    ]
    return tuple(sorted(workers, key=lambda w: (-w.last, w.name)))


def _spent(table: pa.Table, record: RunRecord) -> Spent:
    spent = {"probes": 0.0, "trainings": 0.0, "controls": 0.0}
    for row in _rows(table, "stage", "origin", "seconds"):
        purpose = "controls" if is_control(row["origin"]) else "probes" if row["stage"] in PROBING else "trainings"
        spent[purpose] += row["seconds"] or 0.0
    return Spent(record.base_seconds, **spent)


def _rows(table: pa.Table, *names: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(list(names)).to_pylist()
    return rows
