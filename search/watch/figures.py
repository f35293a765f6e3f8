"""The live page's pictures: the front, its hypervolume, and how true forecasts came."""

from __future__ import annotations

import math

from search.report import wording
from search.report.axis import cost_axis, error, error_axis
from search.report.interactive import legend
from search.report.markup import Markup, join, tag
from search.report.progress import Progress, volume_range
from search.surrogate.record import LEAST_TAU, ROLLING
from search.watch.chart import Mark, chart, linear_scale, log_scale
from search.watch.snapshot import Snapshot

WIDE, HALF = (992, 400), (480, 300)
MOST_PROBES = 4000
"""Probes drawn at most; of more, evenly many are left out."""

FLOOR = 5e-4
"""Least error that is drawn: a perfect score has no logarithm."""


def front_picture(snapshot: Snapshot) -> Markup | None:
    """Accuracy over cost, both logarithmic, better is up and left; None before there is anything to draw."""
    probes = snapshot.probes[:: math.ceil(len(snapshot.probes) / MOST_PROBES)] if snapshot.probes else ()
    spots = [*probes, *snapshot.trained]
    if not spots:
        return None
    cost = snapshot.config.search.cost
    x = log_scale(wording.MEASURES[cost], cost_axis(s.cost for s in spots))
    y = log_scale("accuracy in %", error_axis((s.accuracy for s in spots), FLOOR), reverse=True)
    members = {m.candidate for m in snapshot.front}
    others = [s for s in snapshot.trained if s.candidate not in members]
    stairs = [(m.cost, error(m.accuracy, FLOOR)) for m in snapshot.front]
    unit = wording.SHORT_MEASURES[cost]
    marks = [
        Mark("dots", [(s.cost, error(s.accuracy, FLOOR)) for s in probes], "faint", 1.8, faint=True),
        Mark("steps", stairs, "validation", 1.6),
        Mark(
            "dots",
            [(s.cost, error(s.accuracy, FLOOR)) for s in others],
            "validation",
            4,
            [f"{s.candidate}: {wording.percent(s.accuracy)}, {wording.compact(s.cost)} {unit}" for s in others],
            hollow=True,
        ),
        Mark(
            "dots",
            stairs,
            "test",
            5,
            [f"{m.candidate}: {wording.percent(m.accuracy)}, {wording.compact(m.cost)} {unit}" for m in snapshot.front],
        ),
    ]
    passed = wording.plural(len(snapshot.probes), snapshot.passing)
    caption = (
        f"Validation accuracy on the scale of the error, over {wording.MEASURES[cost]}; up and left is better. "
        f"{passed}, {wording.plural(len(snapshot.trained), 'training')}."
    )
    if len(probes) < len(snapshot.probes):
        caption += f" Of the {snapshot.passing}s {len(probes):,} are drawn."
    entries = [("●", "test", "front so far"), ("○", "validation", "trained"), ("•", "faint", snapshot.passing)]
    return join(legend(entries), chart("The front so far.", caption, x, y, marks, WIDE))


def volume_picture(progress: Progress | None) -> Markup | None:
    """Hypervolume over evaluations; None before the first front."""
    if progress is None or progress.final == 0:
        return None
    x = linear_scale("evaluations committed", 0, progress.evaluations[-1], whole=True)
    low, high = volume_range(progress, math.nan)
    points = [(n, v) for n, v in zip(progress.evaluations, progress.volumes, strict=True) if v > 0]
    caption = "Hypervolume of the front on validation images, over the search's own evaluations; more is better."
    y = linear_scale("hypervolume", low, high)
    return chart("Hypervolume over evaluations.", caption, x, y, [Mark("steps", points, "validation", 2.4)], HALF)


def record_picture(snapshot: Snapshot) -> Markup | None:
    """Rank correlation of forecasts and of probes with trainings, over trainings; None for too few."""
    record = [judged for judged in snapshot.record if math.isfinite(judged.forecasts)]
    if not record:
        return None
    first, last = record[0].trainings, record[-1].trainings
    taus = [t for j in record for t in (j.forecasts, j.probes) if math.isfinite(t)]
    x = linear_scale("trainings with a forecast", first, max(last, first + 1), whole=True)
    y = linear_scale("Kendall’s τ", min(0.0, *taus), 1.0)
    marks = [
        Mark("line", [(first, LEAST_TAU), (max(last, first + 1), LEAST_TAU)], "quiet", 1.2, dashed=True),
        Mark("line", [(j.trainings, j.probes) for j in record if math.isfinite(j.probes)], "faint", 2),
        Mark("line", [(j.trainings, j.forecasts) for j in record], "test", 2.4),
        Mark("dots", [(last, record[-1].forecasts)], "test", 3.5),
    ]
    caption = (
        f"How well the last {ROLLING} forecasts ranked what was trained; below {LEAST_TAU:g} (dashed) twice in a row "
        "they are no longer followed."
    )
    entries = [("━", "test", "forecasts"), ("━", "faint", "probes alone")]
    return tag("div", legend(entries), chart("Record of the forecasts.", caption, x, y, marks, HALF))
