"""A search on the terminal: a panel that is redrawn in place, or plain lines where there is no terminal. On stderr."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.report import wording
from search.view import Course, Progress
from workers.evaluation import INTERVAL, PASSING, PROBE, RUNG, Evaluation

SECONDS_PER_LINE = 10.0
"""How often a log without a terminal gets a line."""

FRONT_ROWS = 8


class Terminal:
    """A :class:`search.view.View` for people."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._last_line = 0.0

    def step(self, text: str) -> None:
        line = Text.assemble((f"{time.strftime('%H:%M:%S')} ", "dim"), wording.plain(text))
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def warn(self, text: str) -> None:
        line = Text.assemble(("warning: ", "yellow"), wording.plain(text))
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def searching(self, course: Course) -> None:
        self._progress = Progress(course)
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._panel, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()

    def replayed(self, evaluation: Evaluation) -> None:
        assert self._progress is not None
        self._progress.hear(evaluation, 0, replayed=True)

    def committed(self, evaluation: Evaluation, under_way: int) -> None:
        assert self._progress is not None
        self._progress.hear(evaluation, under_way)
        if self._live is None and time.monotonic() - self._last_line > SECONDS_PER_LINE:
            self._last_line = time.monotonic()
            self.step(summary_line(self._progress))

    def searched(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._progress is not None:
            self.step(summary_line(self._progress))

    def _panel(self) -> Group:
        assert self._progress is not None
        progress = self._progress
        line = Text(summary_line(progress))
        bar = ProgressBar(total=progress.total, completed=progress.done.total(), width=min(80, self.console.width))
        return Group(bar, line, front_so_far(progress))


def summary_line(progress: Progress) -> str:
    """``512/640 · 32 under way · 14 trained · 0 failed · 9.8/s · 1 min left · best 98.3% at 12.1k``."""
    done = progress.done
    trained = done.total() - sum(done[stage] for stage in PASSING)
    parts = [
        f"{done.total():,}/{progress.total:,} done",
        f"{progress.under_way:,} under way",
        f"{done[PROBE]:,} probed",
        *([f"{done[INTERVAL]:,} intervals"] if INTERVAL in progress.course.counts else []),
        *([f"{done[RUNG]:,} rungs"] if RUNG in progress.course.counts else []),
        f"{trained:,} trained",
        f"{progress.failures:,} failed",
        f"{progress.rate:.1f}/s",
    ]
    if done.total() < progress.total:
        parts.append(f"about {wording.duration(progress.left)} left")
    best = max(progress.front(), key=lambda e: e.metrics["accuracy"], default=None)
    if best is not None:
        size = wording.compact(best.metrics[progress.course.cost])
        unit = wording.SHORT_MEASURES[progress.course.cost]
        parts.append(f"best {wording.percent(best.metrics['accuracy'])} with {size} {unit}")
    return " · ".join(parts)


def front_so_far(progress: Progress) -> Table:
    """The front of trained candidates by validation accuracy, for the live view."""
    course = progress.course
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("front so far")
    for name in (wording.SHORT_MEASURES[course.cost], "share", "validation", "to base"):
        table.add_column(name, justify="right")
    front = progress.front()
    for e in front[-FRONT_ROWS:]:
        accuracy = e.metrics["accuracy"]
        table.add_row(
            e.request.genome.id,
            wording.compact(e.metrics[course.cost]),
            wording.share(e.metrics[course.cost] / course.base_cost),
            wording.percent(accuracy),
            wording.signed(100 * (accuracy - course.base_accuracy)),
        )
    if not front:
        table.add_row("(nothing trained yet)", "", "", "", "")
    return table
