"""The report for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from search.criteria import sentences
from search.criteria.report import CriteriaReport

SHOWN_GROUPS = 24
"""Rows of the table of groups; the page has all."""


def render(report: CriteriaReport) -> Iterator[RenderableType]:
    """Parts from top to bottom, to be printed with a line between."""
    yield Text(sentences.title(report), style="bold")
    yield Text("\n".join([sentences.data_line(report), sentences.method_line(report)]))
    findings = (sentences.blocks_line, sentences.kinds_line, sentences.left_out_line)
    yield Text("\n".join(line(report) for line in findings))
    yield _table(sentences.CRITERIA_HEADS, sentences.criteria_rows(report), right={3, 4, 5, 6})
    rows = sentences.group_rows(report)
    groups = _table(sentences.GROUP_HEADS, rows[:SHOWN_GROUPS], right={1, 2, 3})
    if len(rows) > SHOWN_GROUPS:
        groups.caption = f"and {len(rows) - SHOWN_GROUPS:,} more, in the report"
        groups.caption_justify = "left"
    yield groups


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
