"""Are two archives the same search? Every column but the wall-clock ones must be equal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from search.schema import WALL_CLOCK_COLUMNS


@dataclass(frozen=True)
class Comparison:
    """The answer of `niwaki compare`.

    Attributes:
        rows: evaluations in each archive.
        columns: compared columns.
        differences: ``(number, column, first, second)`` of the first differing row of each column.
    """

    rows: tuple[int, int]
    columns: tuple[str, ...]
    differences: tuple[tuple[int, str, Any, Any], ...]

    @property
    def equal(self) -> bool:
        """Same rows, same values."""
        return self.rows[0] == self.rows[1] and not self.differences

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        first = [
            dict(zip(("number", "column", "first", "second"), map(_plain, d), strict=True)) for d in self.differences
        ]
        return {"equal": self.equal, "rows": list(self.rows), "columns": list(self.columns), "differences": first}

    def __str__(self) -> str:
        if self.equal:
            left_out = ", ".join(WALL_CLOCK_COLUMNS)
            return f"equal: {self.rows[0]:,} evaluations in {len(self.columns)} columns (all but {left_out})"
        lines = [f"different: {self.rows[0]:,} and {self.rows[1]:,} evaluations"]
        lines += [f"  evaluation {n}, {column}: {a!r} and {b!r}" for n, column, a, b in self.differences]
        return "\n".join(lines)


def compare_archives(first: pa.Table, second: pa.Table) -> Comparison:
    """Compare two archives exactly: floats bit for bit, NaN equal to NaN."""
    columns = tuple(name for name in first.column_names if name not in WALL_CLOCK_COLUMNS)
    differences = []
    for name in columns:
        pairs = zip(first.column(name).to_pylist(), second.column(name).to_pylist(), strict=False)
        found = next(((n, a, b) for n, (a, b) in enumerate(pairs) if not _same(a, b)), None)
        if found is not None:
            differences.append((found[0], name, found[1], found[2]))
    return Comparison((len(first), len(second)), columns, tuple(sorted(differences, key=lambda d: d[0])))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
