"""A snapshot on one screen of a terminal, and the same redrawn until the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.report import wording
from search.watch.snapshot import Snapshot
from search.watch.words import PURPOSES, figures, forecasts, remarks, title

FRONT_ROWS, WORKER_ROWS, MESSAGE_ROWS = 8, 4, 2
LEAST_PAUSE = 1.0
PAUSE_PER_LOOK = 4.0
"""A look at a long run takes its time; watching it takes no more than a fifth of a core."""


def watch(look: Callable[[], Snapshot], console: Console) -> Snapshot:
    """Show a run until it ends, redrawn in place; without a terminal, a line whenever it says something new.

    Returns:
        The last look, at the run that ended.
    """
    if not console.is_terminal:
        return _log(look, console)
    snapshot, took = _timed(look)
    with Live(screen(snapshot), console=console, auto_refresh=False, transient=True) as live:
        while not snapshot.ended:
            time.sleep(max(LEAST_PAUSE, PAUSE_PER_LOOK * took))
            snapshot, took = _timed(look)
            live.update(screen(snapshot), refresh=True)
    console.print(screen(snapshot))
    return snapshot


def screen(snapshot: Snapshot) -> Group:
    """One screen of 80 columns and more: all of it is text, whatever a message holds."""
    parts: list[RenderableType] = [Text(wording.plain(f"{snapshot.config.name} · {title(snapshot)}"), style="bold")]
    if snapshot.expected:
        line = Table.grid()  # alone, the bar would not end its line
        line.add_row(ProgressBar(total=snapshot.expected, completed=snapshot.done, width=76))
        parts.append(line)
    parts += [Text(line) for line in remarks(snapshot)]
    if snapshot.standing is not None:
        parts += [Text(f"warning: {wording.plain(w)}", style="yellow") for w in snapshot.standing.warnings[-2:]]
    parts += [Text(), _figures(snapshot), Text(), _stages(snapshot), Text(), _front(snapshot)]
    parts += [Text(), Text(f"forecasts  {forecasts(snapshot)}"), _spent(snapshot)]
    if snapshot.failures:
        parts += [Text(), _failures(snapshot)]
    if snapshot.workers:
        parts += [Text(), _workers(snapshot)]
    return Group(*parts)


def _figures(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 3))
    values = figures(snapshot)
    for start in range(0, len(values), 2):
        cells = [
            Text.assemble((f"{name} ", "dim"), (value, "bold"), (f" {beside}", "dim"))
            for name, value, beside in values[start : start + 2]
        ]
        table.add_row(*cells)
    return table


def _stages(snapshot: Snapshot) -> Table:
    table = _table("stage", "done", "of", "failed", "device time")
    for stage in snapshot.stages:
        expected = wording.UNKNOWN if stage.expected is None else f"{stage.expected:,}"
        table.add_row(
            Text(stage.name), f"{stage.done:,}", expected, f"{stage.failed:,}", wording.duration(stage.seconds)
        )
    return table


def _spent(snapshot: Snapshot) -> Text:
    spent = [f"{PURPOSES[p]} {wording.duration(seconds)}" for p, seconds in asdict(snapshot.spent).items() if seconds]
    return Text(f"cost so far  {', '.join(spent) or 'nothing'}")


def _front(snapshot: Snapshot) -> Table:
    unit = wording.SHORT_MEASURES[snapshot.config.search.cost]
    table = _table("front so far", unit, "share", "validation", "to base")
    for member in snapshot.front[-FRONT_ROWS:]:
        table.add_row(
            Text(wording.plain(member.candidate)),
            wording.compact(member.cost),
            wording.share(member.share),
            wording.percent(member.accuracy),
            wording.signed(member.to_base),
        )
    if not snapshot.front:
        table.add_row("(nothing trained yet)", "", "", "", "")
    return table


def _failures(snapshot: Snapshot) -> Table:
    table = _table("failed", "count", "first messages")
    table.columns[2].justify = "left"
    for failure in snapshot.failures:
        for i, (number, message) in enumerate(failure.messages[:MESSAGE_ROWS]):
            first = (Text(wording.plain(failure.meaning)), f"{failure.count:,}") if i == 0 else (Text(), "")
            table.add_row(*first, Text(f"{number}: {message}", overflow="ellipsis", no_wrap=True))
    return table


def _workers(snapshot: Snapshot) -> Table:
    table = _table("worker", "done", "failed", "device time", "last result")
    for worker in snapshot.workers[:WORKER_ROWS]:
        age = f"{wording.duration(max(snapshot.taken - worker.last, 0.0))} ago"
        name = Text(wording.plain(worker.name))
        table.add_row(name, f"{worker.done:,}", f"{worker.failed:,}", wording.duration(worker.seconds), age)
    more = len(snapshot.workers) - WORKER_ROWS
    if more > 0:
        table.add_row(f"and {more:,} more", "", "", "", "")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _log(look: Callable[[], Snapshot], console: Console) -> Snapshot:
    told = None
    while True:
        snapshot, took = _timed(look)
        line = f"{title(snapshot)} · {snapshot.failed:,} failed · {wording.plural(len(snapshot.front), 'network')}"
        news = (snapshot.phase, snapshot.done)
        if news != told:
            console.print(Text(wording.plain(f"{time.strftime('%H:%M:%S')} {line} on the front")), soft_wrap=True)
            told = news
        if snapshot.ended:
            return snapshot
        time.sleep(max(10 * LEAST_PAUSE, PAUSE_PER_LOOK * took))


def _timed(look: Callable[[], Snapshot]) -> tuple[Snapshot, float]:
    started = time.monotonic()
    return look(), time.monotonic() - started
