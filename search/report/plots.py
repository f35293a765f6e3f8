"""The report's pictures as PNG files, for READMEs and slides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.report import wording
from search.report.axis import LogAxis, error
from search.report.figure import STYLE, png
from search.report.forecasts import Forecasts, forecast_axis, judge_forecasts, why_none
from search.report.foretelling import Foretelling, compare_probes
from search.report.measurements import Finals, Measured
from search.report.palette import LIGHT
from search.report.progress import Progress, measure_progress, volume_range
from search.report.scene import Scene, build_scene
from search.report.units import time_unit
from search.report.verdict import LABELS

_CONTROL_MARKERS = ("s", "^", "v", "P", "h", "<", ">")


def draw_plots(table: pa.Table, finals: Finals) -> dict[str, bytes]:
    """All pictures: file name to PNG. Each is always drawn, if only to say that there is nothing to show."""
    jobs: dict[str, Callable[[], Figure]] = {
        "front.png": lambda: _front(build_scene(table, finals), finals),
        "hypervolume.png": lambda: _hypervolume(measure_progress(table, finals), finals),
        "widths.png": lambda: _widths(finals.chosen_network),
        "probe_vs_training.png": lambda: _probing(compare_probes(table)),
        "forecasts.png": lambda: _forecasts(judge_forecasts(table), finals),
    }
    with matplotlib.rc_context(STYLE):
        return {name: png(job()) for name, job in jobs.items()}


def _blank(why: str) -> Figure:
    figure = Figure(figsize=(6.4, 1.6))
    figure.text(0.5, 0.5, why, ha="center", va="center", color=LIGHT["quiet"])
    return figure


def _front(scene: Scene, finals: Finals) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    _log_axis(axes, scene.x, "x")
    _log_axis(axes, scene.y, "y", reverse=True)
    axes.set_xlabel(wording.MEASURES[finals.cost])
    axes.set_ylabel("accuracy in % (on the scale of the error)")

    def add(points: list[tuple[float, float]], label: str, **style: Any) -> None:
        shown = [(x, error(a, scene.floor)) for x, a in points if math.isfinite(a)]
        if shown:
            axes.scatter([x for x, _ in shown], [y for _, y in shown], label=label, **style)

    cost = finals.cost
    if scene.chosen is not None:
        spot = (float(scene.chosen.cost(cost)), scene.chosen.test_accuracy)
        add([spot], "chosen", s=260, marker="*", color=LIGHT["chosen"], edgecolors="white", zorder=5)
    add([(m.cost(cost), m.test_accuracy) for m in scene.front], "front", s=38, color=LIGHT["test"], zorder=3)
    add(
        [(s.cost, s.accuracy) for s in scene.probes],
        f"{scene.passing} (validation)",
        s=9,
        color=LIGHT["faint"],
        alpha=0.4,
        lw=0,
    )
    rings = {"facecolors": "none", "edgecolors": LIGHT["validation"], "linewidths": 1.3}
    add([(s.cost, s.accuracy) for s in scene.trained], "trained (validation)", s=34, **rings)
    for m in finals.front:
        ends = [error(a, scene.floor) for a in (m.validation_accuracy, m.test_accuracy) if math.isfinite(a)]
        axes.plot([m.cost(cost)] * len(ends), ends, color=LIGHT["validation"], lw=1.1, ls=":", zorder=1)
    if scene.stairs:
        xs, ys = [c for c, _ in scene.stairs], [error(a, scene.floor) for _, a in scene.stairs]
        axes.step(xs, ys, where="post", color=LIGHT["test"], lw=1, alpha=0.55)
    for i, control in enumerate(scene.controls):
        marker = _CONTROL_MARKERS[i % len(_CONTROL_MARKERS)]
        name = wording.plain(LABELS.get(control.name, control.name))
        add([(control.cost(cost), control.mean_test)], name, s=40, marker=marker, color=LIGHT["control"], zorder=3)
    base = (float(scene.base.cost(cost)), scene.base.test_accuracy)
    add([base], "base network", s=58, marker="D", color=LIGHT["ink"], zorder=4)
    if scene.limit is not None:
        axes.axvline(scene.limit, color=LIGHT["quiet"], lw=1, ls=(0, (4, 3)), zorder=1, label="budget")
    figure.legend(loc="outside upper left", ncols=4, columnspacing=1.4)
    return figure


def _log_axis(axes: Axes, axis: LogAxis, which: str, reverse: bool = False) -> None:
    """Make one side logarithmic with our ticks; ``reverse`` is for errors, so that better is up or right."""
    ends = (axis.high, axis.low) if reverse else (axis.low, axis.high)
    side = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(*ends)
    else:
        axes.set_yscale("log")
        axes.set_ylim(*ends)
    side.set_ticks(list(axis.ticks), labels=list(axis.labels))
    side.set_ticks([], minor=True)


def _hypervolume(progress: Progress, finals: Finals) -> Figure:
    if progress.final == 0:
        return _blank("The front stayed empty, and its hypervolume zero.")
    divisor, unit = time_unit(progress.seconds[-1])
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    sides: list[tuple[Axes, list[float], str]] = [
        (left, [float(x) for x in progress.evaluations], "evaluations committed"),
        (right, [s / divisor for s in progress.seconds], f"device time in {unit}"),
    ]
    for axes, xs, title in sides:
        axes.step(xs, progress.volumes, where="post", color=LIGHT["validation"], lw=2, label="validation")
        held_out = finals.hypervolume.test
        if math.isfinite(held_out):
            axes.scatter(
                xs[-1:], [held_out], marker="D", s=42, color=LIGHT["test"], zorder=4, clip_on=False,
                label="held-out test, at the end",
            )  # fmt: skip
        axes.set_xlabel(title)
        axes.set_xlim(0, max(xs[-1], 1e-9) * 1.02)
        axes.set_ylim(*volume_range(progress, held_out))
    left.set_ylabel("hypervolume")
    left.legend(loc="lower right")
    return figure


def _widths(chosen: Measured | None) -> Figure:
    if chosen is None or not chosen.widths:
        return _blank("No network was chosen." if chosen is None else "The widths were not recorded.")
    number = len(chosen.widths)
    figure = Figure(figsize=(8, 0.9 + 0.235 * number), layout="constrained")
    axes = figure.add_subplot()
    rows = range(number)
    axes.barh(rows, [w.full for w in chosen.widths], height=0.66, color=LIGHT["rule"], label="full width")
    axes.barh(rows, [w.kept for w in chosen.widths], height=0.66, color=LIGHT["chosen"], label="kept")
    widest = max(w.full for w in chosen.widths)
    for row, width in zip(rows, chosen.widths, strict=True):
        label = f"{width.kept} of {width.full}"
        axes.text(width.full + 0.01 * widest, row, label, va="center", fontsize=8, color=LIGHT["quiet"])
    axes.set_yticks(list(rows), labels=[wording.plain(w.group) for w in chosen.widths], fontsize=8.5)
    axes.set_ylim(number - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * widest)
    axes.set_xlabel("channels")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _probing(foretelling: Foretelling) -> Figure:
    pairs = foretelling.pairs
    if not pairs:
        return _blank("No candidate was both probed and trained.")
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    before = [100 * (p.refitted if foretelling.refitted else p.probed) for p in pairs]
    axes.scatter(before, [100 * p.trained for p in pairs], s=42, color=LIGHT["test"], alpha=0.8, lw=0)
    what = "refitted probe" if foretelling.refitted else "probe"
    axes.set_xlabel(f"{what}: validation accuracy in %")
    axes.set_ylabel("trained: validation accuracy in %")
    tau = (
        f"Kendall’s τ = {foretelling.tau:.2f}, n = {len(pairs)}"
        if math.isfinite(foretelling.tau)
        else f"n = {len(pairs)}"
    )
    axes.set_title(tau, fontsize=10, loc="left", color=LIGHT["ink"])
    return figure


def _forecasts(forecasts: Forecasts, finals: Finals) -> Figure:
    pairs = forecasts.pairs
    if not pairs:
        return _blank(why_none(finals))
    axis, floor = forecast_axis(forecasts, finals)
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.add_subplot()
    _log_axis(axes, axis, "x", reverse=True)
    _log_axis(axes, axis, "y", reverse=True)
    axes.plot([axis.low, axis.high], [axis.low, axis.high], color=LIGHT["quiet"], lw=1, ls=(0, (4, 3)), zorder=1)
    axes.hlines(
        [error(p.trained, floor) for p in pairs],
        [error(p.low, floor) for p in pairs],
        [error(p.high, floor) for p in pairs],
        color=LIGHT["validation"], lw=1.1, alpha=0.7, zorder=2,
    )  # fmt: skip
    for held, marker, colour in ((True, "o", "test"), (False, "D", "chosen")):
        shown = [p for p in pairs if p.held is held]
        if shown:
            xs, ys = [error(p.forecast, floor) for p in shown], [error(p.trained, floor) for p in shown]
            label = f"interval {'held' if held else 'missed'}"
            axes.scatter(xs, ys, s=34, marker=marker, color=LIGHT[colour], lw=0, zorder=3, label=label)
    axes.set_xlabel("foretold: validation accuracy in %")
    axes.set_ylabel("trained: validation accuracy in %")
    tau = forecasts.ranking.tau.value
    ranked = f"Kendall’s τ = {tau:.2f}, n = {len(pairs)}" if math.isfinite(tau) else f"n = {len(pairs)}"
    axes.set_title(ranked, fontsize=10, loc="left", color=LIGHT["ink"])
    axes.legend(loc="lower right")
    return figure
