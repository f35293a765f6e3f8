"""The report for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from search.complexity import sentences
from search.complexity.report import ComplexityReport
from search.report import wording


def render(report: ComplexityReport) -> Iterator[RenderableType]:
    """Parts from top to bottom, to be printed with a line between."""
    yield Text(sentences.title(report), style="bold")
    yield Text("\n".join([sentences.data_line(report), sentences.method_line(report)]))
    for warning in report.warnings():
        yield Text(f"warning: {warning}", style="bold")
    yield figures_table("class overlap", sentences.overlap_rows(report))
    yield figures_table("images", sentences.picture_rows(report))
    if sentences.shown_pairs(report):
        yield pairs_table(report)
    yield ladder_table(report)
    yield Text("\n".join([sentences.reduction_line(report), sentences.width_line(report), sentences.width_caveat()]))


def figures_table(name: str, rows: Sequence[sentences.Row]) -> Table:
    """One figure a line."""
    table = _table()
    table.add_column(name)
    table.add_column("value", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(row.name, row.value, row.interval, Text(row.reading, style="dim"))
    return table


def pairs_table(report: ComplexityReport) -> Table:
    """The hardest pairs of classes, most alike first."""
    pairs = sentences.shown_pairs(report)
    total = len(report.measured.classes) * (len(report.measured.classes) - 1) // 2
    table = _table()
    table.add_column("hardest pairs" if total <= len(pairs) else f"hardest of {total:,} pairs")
    table.add_column("")
    table.add_column("overlap", justify="right")
    for pair in pairs:
        names = (Text(wording.plain(name)) for name in (pair.first, pair.second))
        table.add_row(*names, wording.percent(pair.similarity))
    return table


def ladder_table(report: ComplexityReport) -> Table:
    """CSG on ever smaller parts."""
    table = _table()
    table.add_column("images", justify="right")
    table.add_column("CSG", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("")
    for rung in report.reduction.rungs:
        alike = "alike" if rung.images >= report.reduction.advised else "differs"
        note = "whole" if rung is report.reduction.rungs[0] else alike
        cells = (f"{rung.images:,}", f"{rung.csg.mean:.3f}", sentences.interval(rung.csg))
        table.add_row(*cells, Text(note, style="dim"))
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="dim")
