"""The report's pictures as PNG files."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from search.complexity.labels import place_labels
from search.complexity.layout import cluster_order
from search.complexity.report import ComplexityReport
from search.report import wording
from search.report.figure import STYLE, png
from search.report.palette import LIGHT

NAMED_CLASSES = 30
"""With more classes the heat map has no names and the map only those of the hardest pairs."""
_NUMBERED_CLASSES = 12
_DARKEST = "#00294a"
_LEAST_TOP = 20.0  # per cent, at the dark end of the heat map: a greatest overlap of 2% shall not look like one of 90%
_LONGEST_NAME = 18
_NAMED_PAIRS = 8
_STYLE: Any = {
    **STYLE,
    "axes.grid": False,
    "xtick.minor.size": 0,
    "legend.handletextpad": 0.8,
    "figure.constrained_layout.h_pad": 0.08,
}


def draw_plots(report: ComplexityReport) -> dict[str, bytes]:
    """All pictures: file name to PNG."""
    with matplotlib.rc_context(_STYLE):
        return {
            "spectrum.png": png(_spectrum(report)),
            "confusion.png": png(_confusion(report)),
            "class_map.png": png(_class_map(report)),
            "reduction.png": png(_reduction(report)),
        }


def _spectrum(report: ComplexityReport) -> Figure:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    values = report.spectrum
    marker = "o" if len(values) <= NAMED_CLASSES else ""
    axes.plot(range(len(values)), values, marker=marker, ms=5, lw=1.6, color=LIGHT["test"], clip_on=False)
    axes.set_ylim(min(0.0, float(values.min())), max(1.05 * float(values.max()), 0.1))
    axes.set_xlabel("eigenvalue of the classes’ Laplacian, ascending")
    axes.set_ylabel("value (0: classes apart)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    return figure


def _confusion(report: ComplexityReport) -> Figure:
    order = cluster_order(report.similarity)
    classes = len(order)
    values = 100 * report.similarity[np.ix_(order, order)]
    np.fill_diagonal(values, np.nan)
    side = 3.2 + 0.3 * classes if classes <= NAMED_CLASSES else 6.4
    figure = Figure(figsize=(side + 0.9, side), layout="compressed")
    axes = figure.add_subplot()
    shades = ["white", LIGHT["validation"], LIGHT["test"], _DARKEST]
    colours = LinearSegmentedColormap.from_list("overlap", shades).with_extremes(bad=LIGHT["rule"])
    top = max(float(np.nanmax(values)), _LEAST_TOP)
    image = axes.imshow(values, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, label="overlap in %")
    bar.outline.set_visible(False)  # type: ignore[operator]
    for spine in axes.spines.values():
        spine.set_color(LIGHT["rule"])
        spine.set_visible(True)
    if classes > NAMED_CLASSES:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{classes} classes, those that overlap side by side")
        return figure
    names = [_name(report.measured.classes[i]) for i in order]
    axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(classes), names)
    if classes <= _NUMBERED_CLASSES:
        for row, column in np.argwhere(values >= 0.5):
            value = values[row, column]
            colour = "white" if value > 0.5 * top else LIGHT["ink"]
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return figure


def _class_map(report: ComplexityReport) -> Figure:
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    points = report.class_map
    names = report.measured.classes
    pairs = report.hardest_pairs(_NAMED_PAIRS if len(names) > NAMED_CLASSES else len(names))
    index = {name: i for i, name in enumerate(names)}
    strongest = max(pairs[0].similarity, 1e-9)
    for pair in pairs:
        ends = points[[index[pair.first], index[pair.second]]]
        strength = pair.similarity / strongest
        if pair.similarity > 0.005:
            axes.plot(*ends.T, color=LIGHT["chosen"], alpha=0.75 * strength, lw=0.4 + 2.2 * strength, zorder=1)
    size = 46 if len(names) <= NAMED_CLASSES else 16
    axes.scatter(points[:, 0], points[:, 1], s=size, color=LIGHT["test"], zorder=3)
    axes.set_xlim(*_span(points[:, 0]))
    axes.set_ylim(*_span(points[:, 1]))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    _write_names(report, axes, [p for pair in pairs for p in (index[pair.first], index[pair.second])])
    return figure


def _span(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.12 * max(high - low, 0.5)
    return low - margin, high + margin


def _write_names(report: ComplexityReport, axes: Any, important: list[int]) -> None:
    """Names beside their points, those of hard pairs first; what finds no room goes without."""
    names = report.measured.classes
    wanted = dict.fromkeys(important if len(names) > NAMED_CLASSES else [*important, *range(len(names))])
    shown = [_name(names[i]) for i in wanted]
    # In inches, for which the axes are taken to be as large as the figure; 9 points are an eighth of an inch.
    scale = np.array([axes.figure.get_figwidth(), axes.figure.get_figheight()]) / [
        np.ptp(axes.get_xlim()),
        np.ptp(axes.get_ylim()),
    ]
    sizes = [(0.075 * len(text) + 0.05, 0.16) for text in shown]
    places = [(float(x), float(y)) for x, y in report.class_map * scale]
    unnamed = [place for i, place in enumerate(places) if i not in wanted]
    spots = place_labels([places[i] for i in wanted], sizes, 0.08, unnamed)
    for text, spot in zip(shown, spots, strict=True):
        if spot is not None:
            x, y = np.array(spot) / scale
            halo = [withStroke(linewidth=2.5, foreground="white")]
            axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=4, path_effects=halo)


def _reduction(report: ComplexityReport) -> Figure:
    rungs = report.reduction.rungs
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    images = [rung.images for rung in rungs]
    whole, tolerance = rungs[0].csg, report.reduction.tolerance
    axes.axhspan(
        max(0.0, whole.low - tolerance),
        whole.high + tolerance,
        color=LIGHT["rule"],
        alpha=0.6,
        lw=0,
        label="like the whole set",
    )
    low = [max(0.0, rung.csg.mean - rung.csg.low) for rung in rungs]
    high = [max(0.0, rung.csg.high - rung.csg.mean) for rung in rungs]
    means = [rung.csg.mean for rung in rungs]
    axes.errorbar(images, means, yerr=[low, high], color=LIGHT["test"], marker="o", ms=5, lw=1.4, capsize=3)
    at = images.index(report.reduction.advised)
    axes.scatter([images[at]], [means[at]], s=130, marker="*", color=LIGHT["chosen"], zorder=4, label="smallest alike")
    axes.set_xscale("log")
    shown = images[:: max(1, -(-len(images) // 7))]
    axes.set_xticks(shown, [wording.compact(n) for n in shown])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("images (logarithmic)")
    axes.set_ylabel("CSG, 95% interval")
    axes.grid(axis="y")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _name(text: str) -> str:
    plain = wording.plain(text)
    return plain if len(plain) <= _LONGEST_NAME else plain[: _LONGEST_NAME - 1] + "…"
