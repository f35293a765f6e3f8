"""What failed, by reason, with the first messages of each."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from search.report import wording
from workers.evaluation import FAILED

MEANINGS = {
    "oom": "out of memory",
    "nan": "not a number",
    "hopeless": "learnt nothing",
    "timeout": "time limit",
    "error": "error",
    "worker_lost": "worker lost",
}
"""Reasons in words."""

MESSAGES = 3


@dataclass(frozen=True)
class Failure:
    """All failures of one reason.

    Attributes:
        meaning: the reason in words.
        count: evaluations that failed so.
        messages: the first distinct messages, each with the number of the evaluation that said it first.
        seconds: device-seconds that they took.
    """

    reason: str
    meaning: str
    count: int
    messages: tuple[tuple[int, str], ...]
    seconds: float


def count_failures(table: pa.Table) -> tuple[Failure, ...]:
    """The archive's failures, the most frequent reason first."""
    names = ["number", "status", "reason", "message", "seconds"]
    rows: dict[str, list[dict[str, object]]] = {}
    for row in table.select(names).to_pylist():
        if row["status"] == FAILED:
            rows.setdefault(row["reason"] or "error", []).append(row)
    return tuple(
        Failure(
            reason,
            MEANINGS.get(reason, reason),
            len(found),
            _first_messages(found),
            sum(float(str(r["seconds"] or 0.0)) for r in found),
        )
        for reason, found in sorted(rows.items(), key=lambda item: -len(item[1]))
    )


def _first_messages(rows: list[dict[str, object]]) -> tuple[tuple[int, str], ...]:
    first: dict[str, int] = {}
    for row in sorted(rows, key=lambda r: int(str(r["number"]))):
        first.setdefault(wording.plain(str(row["message"] or "")) or "(no message)", int(str(row["number"])))
    return tuple((number, message) for message, number in list(first.items())[:MESSAGES])
