"""The columns of the archive, each with its meaning; and evaluations to rows and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from spaces.genome import Genome
from workers.evaluation import Evaluation, Outcome, Request
from workers.proxies import PROXIES

SCHEMA_VERSION = 3

_IDENTITY = [
    ("number", pa.int64(), "position in the order of commits, from 0"),
    ("candidate", pa.string(), "content hash of the genome"),
    ("genome", pa.string(), "canonical JSON of the genome"),
    (
        "stage",
        pa.string(),
        "probe (no training), tune (fine-tuned for a little), interval (a member of a population, trained on for a "
        "little), train (to the end), scratch (from fresh weights) or finish (trained on after the search)",
    ),
    ("origin", pa.string(), "who asked: a strategy, or control:NAME"),
    ("parent", pa.string(), "candidate whose weights it started from; empty for those of the base network"),
    ("repeat", pa.int64(), "0, or the index of a repeated training with another seed"),
    ("status", pa.string(), "ok or failed"),
    ("reason", pa.string(), "empty, or oom, nan, hopeless, timeout, error, worker_lost"),
    ("message", pa.string(), "the failure in one line"),
]
FORECAST = [
    ("forecast", pa.float64(), "trained accuracy that the surrogate expected when it sent the candidate to training"),
    ("forecast_low", pa.float64(), "lower end of the forecast's 90% interval"),
    ("forecast_high", pa.float64(), "upper end of the forecast's 90% interval"),
]
METRICS = [
    ("accuracy", pa.float64(), "validation top-1 accuracy, 0 to 1"),
    ("loss", pa.float64(), "validation cross-entropy, nats"),
    (
        "refit_accuracy",
        pa.float64(),
        "validation accuracy after a ridge refit of the classifier on the features",
    ),
    (
        "feature_csg",
        pa.float64(),
        "CSG / (K − 1) of the candidate's features: 0 where classes lie apart, 1 where mixed",
    ),
    *[(f"proxy_{name}", pa.float64(), f"zero-cost proxy {name}; higher promises more") for name in PROXIES],
    ("params", pa.int64(), "trainable parameters of the compact network"),
    ("macs", pa.int64(), "multiply-accumulates per image (convolutions and linear layers)"),
    ("bytes", pa.int64(), "float32 parameters and buffers"),
    ("violation", pa.float64(), "largest relative excess over a budget; 0 when all are met"),
    ("epochs", pa.int64(), "epochs trained, a parent's included; 0 for a probe"),
    ("seed", pa.int64(), "seed of the evaluation's generator"),
    ("same_masked", pa.float64(), "largest output difference, compact network to masked base network"),
    (
        "same_reloaded",
        pa.float64(),
        "largest output difference, compact network to the one reloaded from disk",
    ),
]
WALL_CLOCK = [
    ("latency_ms", pa.float64(), "median milliseconds per batch on the worker; NaN if not measured"),
    ("seconds", pa.float64(), "device-seconds over all attempts"),
    ("worker", pa.string(), "node and process that ran it"),
    ("attempts", pa.int64(), "times it was started"),
    ("committed_at", pa.float64(), "seconds since the epoch when the row was committed"),
]
_EMBEDDING = [("embedding", pa.list_(pa.float64()), "statistics of the candidate's features, for surrogates")]

SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"description": text})
        for name, kind, text in [*_IDENTITY, *FORECAST, *METRICS, *_EMBEDDING, *WALL_CLOCK]
    ],
    metadata={"niwaki_schema": str(SCHEMA_VERSION)},
)
WALL_CLOCK_COLUMNS = tuple(name for name, _, _ in WALL_CLOCK)
"""Columns that may differ between two runs of the same configuration and seed."""

_MEASURED = [*METRICS, WALL_CLOCK[0]]


def to_row(evaluation: Evaluation, committed_at: float) -> dict[str, Any]:
    """The archive's row for an evaluation; metrics that were not measured are null."""
    request, outcome = evaluation.request, evaluation.outcome
    row: dict[str, Any] = {
        "number": request.number,
        "candidate": request.genome.id,
        "genome": request.genome.text,
        "stage": request.stage,
        "origin": request.origin,
        "parent": request.parent,
        "repeat": request.repeat,
        "status": outcome.status,
        "reason": outcome.reason,
        "message": outcome.message.encode("utf-8", "replace").decode(),  # lone surrogates, from odd file names
        "embedding": list(map(float, outcome.embedding)),
        "seconds": float(outcome.seconds),
        "worker": outcome.worker,
        "attempts": outcome.attempts,
        "committed_at": committed_at,
    }
    for (name, _, _), value in zip(FORECAST, request.forecast or (None, None, None), strict=True):
        row[name] = value
    for name, kind, _ in _MEASURED:
        value = outcome.metrics.get(name)
        row[name] = None if value is None else int(value) if kind == pa.int64() else float(value)
    return row


def evaluations_of(table: pa.Table) -> Iterator[Evaluation]:
    """The evaluations in an archive's table, in its order, a batch at a time."""
    for batch in table.to_batches(max_chunksize=1024):
        yield from map(from_row, batch.to_pylist())


def from_row(row: dict[str, Any]) -> Evaluation:
    """The evaluation that :func:`to_row` wrote."""
    foretold = tuple(row[name] for name, _, _ in FORECAST)
    request = Request(
        number=row["number"],
        stage=row["stage"],
        genome=Genome.from_text(row["genome"]),
        origin=row["origin"],
        repeat=row["repeat"],
        forecast=None if None in foretold else foretold,
        parent=row["parent"],
    )
    metrics = {name: row[name] for name, _, _ in _MEASURED if row[name] is not None}
    outcome = Outcome(
        number=row["number"],
        status=row["status"],
        reason=row["reason"],
        message=row["message"],
        metrics=metrics,
        embedding=tuple(row["embedding"]),
        seconds=row["seconds"],
        worker=row["worker"],
        attempts=row["attempts"],
    )
    return Evaluation(request, outcome)
