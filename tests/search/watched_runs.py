"""Folders of runs as a watcher may find them: running, finished, failed; full of names that would like to be markup."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from report_fixtures import BASE_PARAMS, evaluations, finals

from search.folder import RunFolder, RunRecord
from search.loading import dump_config, parse_config
from search.schema import SCHEMA, to_row
from search.standing import FINISHED, Standing
from search.view import Course
from workers.evaluation import PROBE, SCRATCH, TRAIN, Evaluation

EVIL = "<script>alert(1)</script>\"'&</style><img src=x onerror=alert(1)>"
COURSE = Course(
    {PROBE: 480, TRAIN: 28, SCRATCH: 0}, {PROBE: 0.4, TRAIN: 25.0}, 2, "params", BASE_PARAMS, base_accuracy=0.9916
)


def write_run(
    out: Path,
    phase: str,
    rows: list[Evaluation] | None = None,
    course: Course | None = COURSE,
    hostile: bool = True,
    **standing: Any,
) -> Path:
    """A run in ``out`` that stands at ``phase``; one that finished has its measurements.

    Args:
        rows: its archive; one row a second was committed, the last just now.
        hostile: whether classes, failures, workers and the data's name hold markup.
        standing: further fields of its standing; ``host`` may be another machine's.
    """
    evil = EVIL if hostile else "plain"
    config = parse_config({"name": "watched", "out": str(out), "data": {"source": "digits"}})
    folder = RunFolder(config.folder)
    folder.path.mkdir(parents=True)
    folder.config_file.write_text(dump_config(config), encoding="utf-8")
    folder.save_record(RunRecord("1" * 32, "space", 8, base_seconds=61.0))
    rows = evaluations() if rows is None else rows
    now = time.time()
    content = [to_row(spoil(e, evil), now - len(rows) + i) for i, e in enumerate(rows)]
    folder.archive.mkdir()
    table = pa.Table.from_pylist(content, schema=SCHEMA)
    pq.write_table(table, folder.archive / "part-000000000.parquet")
    fields: dict[str, Any] = {"host": "elsewhere", "since": now - 600.0, "noted": now, "doing": f"looking at {evil}"}
    note = Standing(**{**fields, "phase": phase, "course": course, **standing})
    (folder.path / "standing.json").write_text(json.dumps(asdict(note)))
    if phase == FINISHED:
        folder.report.mkdir()
        measured = replace(finals(table, classes=("0", evil, "2")), name=config.name)
        (folder.report / "measurements.json").write_text(json.dumps(measured.to_json()))
    return folder.path


def spoil(evaluation: Evaluation, evil: str) -> Evaluation:
    """The same with markup in everything that is text."""
    outcome = evaluation.outcome
    message = f"{outcome.message} {evil}" if outcome.message else ""
    worker = f"10.0.3.{evaluation.request.number % 3}:{evil[:8]}"
    return replace(evaluation, outcome=replace(outcome, message=message, worker=worker))


def here() -> str:
    """This machine, as a standing names it."""
    return socket.gethostname()
