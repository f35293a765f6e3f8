"""The report's pictures as PNG files."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.cluster.hierarchy import dendrogram

from search.criteria.report import CriteriaReport
from search.criteria.sentences import LOOKS
from search.criteria.tree import ALIKE
from search.report import wording
from search.report.figure import STYLE, png
from search.report.palette import LIGHT

NUMBERED_CRITERIA = 26
"""With more criteria the heat maps have no numbers: they would not be legible."""
NAMED_GROUPS = 60
"""With more groups the picture of groups does not name them."""
_CELL = 0.37  # inches, for a number of two digits
_LONGEST_NAME = 24
_LONGEST_GROUP = 32
_LOOKS_COLOURS = {"weights": LIGHT["chosen"], "data": LIGHT["ink"], "nothing": LIGHT["faint"]}
_SHADES = [LIGHT["chosen"], "#f5c9a4", "white", LIGHT["validation"], LIGHT["test"], "#00294a"]
_COLOURS = LinearSegmentedColormap.from_list(
    "agreement", list(zip((0, 0.25, 0.5, 0.7, 0.85, 1), _SHADES, strict=True))
).with_extremes(bad=LIGHT["rule"])
_STYLE: Any = {**STYLE, "axes.grid": False, "xtick.minor.size": 0}


def draw_plots(report: CriteriaReport) -> dict[str, bytes]:
    """All pictures: file name to PNG."""
    with matplotlib.rc_context(_STYLE):
        return {
            "agreement.png": png(_agreement(report)),
            "pruned_sets.png": png(_pruned_sets(report)),
            "groups.png": png(_groups(report)),
        }


def _agreement(report: CriteriaReport) -> Figure:
    """Dendrogram above heat map: what joins low is a block below."""
    side = _side(report)
    figure = Figure(figsize=(side + 2.4, side + 3.1), layout="constrained")
    top, axes = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, side])
    _tree(report, top)
    _heat_map(report, report.spearman, figure, axes, "mean rank correlation ρ")
    _legend(report, figure)
    return figure


def _tree(report: CriteriaReport, axes: Axes) -> None:
    if len(report.tree.joins):
        drawn = dendrogram(report.tree.joins, no_plot=True)
        for across, up in zip(drawn["icoord"], drawn["dcoord"], strict=True):
            axes.plot((np.array(across) - 5) / 10, up, color=LIGHT["quiet"], lw=1.2, solid_joinstyle="miter")
    axes.axhline(1 - ALIKE, color=LIGHT["faint"], lw=1, ls=(0, (4, 3)), zorder=0)
    axes.annotate(f"ρ = {ALIKE}", (1, 1 - ALIKE), (4, 0), ("axes fraction", "data"), "offset points", va="center")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("1 − ρ")
    axes.tick_params(axis="x", labelbottom=False)
    axes.spines["bottom"].set_visible(False)


def _pruned_sets(report: CriteriaReport) -> Figure:
    side = _side(report)
    figure = Figure(figsize=(side + 2.4, side + 1.6), layout="constrained")
    _heat_map(report, report.jaccard, figure, figure.add_subplot(), "mean agreement κ of pruned sets")
    _legend(report, figure)
    return figure


def _groups(report: CriteriaReport) -> Figure:
    """Each criterion's mean correlation with the others, group by group; grey where it was left out."""
    order = list(report.tree.order)
    table = np.array([report.with_others(group.spearman)[order] for group in report.groups]).T
    count = len(report.groups)
    figure = Figure(figsize=(min(10.0, max(5.0, 3.4 + 0.24 * count)), 0.24 * len(order) + 2.6), layout="constrained")
    axes = figure.add_subplot()
    top = max(0.3, np.nanmax(np.abs(table), initial=0.0))
    image = axes.imshow(table, cmap=_COLOURS, vmin=-top, vmax=top, interpolation="nearest", aspect="auto")
    _bar(figure, image, axes, "mean ρ with the others")
    _name_rows(report, axes)
    if count <= NAMED_GROUPS:
        names = [_short(f"{group.name} ({group.size})", _LONGEST_GROUP) for group in report.groups]
        size = 8 if count <= 40 else 6
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{count} groups from input to output")
    _frame(axes)
    _legend(report, figure)
    return figure


def _heat_map(report: CriteriaReport, agreement: np.ndarray, figure: Figure, axes: Axes, label: str) -> None:
    order = list(report.tree.order)
    values = agreement[np.ix_(order, order)]
    image = axes.imshow(values, cmap=_COLOURS, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    _bar(figure, image, axes, label)
    _name_rows(report, axes)
    names = [_short(report.criteria[i]) for i in order]
    axes.set_xticks(range(len(order)), names, rotation=45, ha="right", rotation_mode="anchor")
    _colour(report, axes.get_xticklabels())
    _frame(axes)
    if len(order) > NUMBERED_CRITERIA:
        return
    for row, column in np.argwhere(np.isfinite(values)):
        if row != column:
            value = values[row, column]
            colour = "white" if value > 0.5 or value < -0.8 else LIGHT["ink"]
            axes.text(column, row, _hundredths(value), ha="center", va="center", fontsize=8, color=colour)


def _bar(figure: Figure, image: Any, axes: Axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label=label)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _name_rows(report: CriteriaReport, axes: Axes) -> None:
    order = report.tree.order
    axes.set_yticks(range(len(order)), [_short(report.criteria[i]) for i in order])
    _colour(report, axes.get_yticklabels())


def _colour(report: CriteriaReport, labels: Any) -> None:
    for label, i in zip(labels, report.tree.order, strict=True):
        label.set_color(_LOOKS_COLOURS[report.looks[i]])


def _legend(report: CriteriaReport, figure: Figure) -> None:
    kinds = [kind for kind in _LOOKS_COLOURS if kind in report.looks]
    marks = [Line2D([], [], marker="s", ls="", color=_LOOKS_COLOURS[kind]) for kind in kinds]
    names = [f"looks at {LOOKS[kind]}" for kind in kinds]
    figure.legend(marks, names, loc="outside upper right", ncols=len(kinds), columnspacing=1.4)


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_color(LIGHT["rule"])
        spine.set_visible(True)


def _side(report: CriteriaReport) -> float:
    return max(2.6, _CELL * min(len(report.criteria), NUMBERED_CRITERIA))


def _hundredths(value: float) -> str:
    return wording.signed(value, 2).lstrip("+").replace("0.", ".")


def _short(text: str, longest: int = _LONGEST_NAME) -> str:
    plain = wording.plain(text)
    return plain if len(plain) <= longest else "…" + plain[1 - longest :]
