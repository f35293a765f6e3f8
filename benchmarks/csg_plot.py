"""The picture of ``csg_value.py``: figures of class overlap, and 1-nearest-neighbour, against the test error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.report.palette import LIGHT

_COLOURS = {"digits": "test", "shapes": "control", "signs": "chosen", "cifar": "quiet"}
_MARKERS = {"digits": "o", "shapes": "s", "signs": "^", "cifar": "D"}
_LONG = {"cmsauls votes": "cmsAULS as an error, without volume", "1-NN error": "1-nearest-neighbour error"}
_STYLE: Any = {
    "font.size": 9,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["rule"],
    "axes.labelcolor": LIGHT["quiet"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["rule"],
    "xtick.color": LIGHT["quiet"],
    "ytick.color": LIGHT["quiet"],
    "legend.frameon": False,
}


def draw(rows: list[dict[str, Any]], found: list[dict[str, Any]], overlap: str, rival: str, path: Path) -> None:
    """Two scatter plots, of the figures ``overlap`` and ``rival``, and all correlations with their intervals."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 4.2), dpi=150, layout="constrained", facecolor="white")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
        by_name = {entry["figure"]: entry for entry in found}
        _scatter(left, rows, by_name[overlap])
        _scatter(middle, rows, by_name[rival])
        left.set_ylabel("test error, mean of three small networks")
        left.legend(loc="upper left")
        _intervals(right, found)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def _scatter(axes: Axes, rows: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    for source, colour in _COLOURS.items():
        part = [row for row in rows if row["source"] == source]
        x = [row["figures"][entry["figure"]] for row in part]
        y = [row["error"] for row in part]
        axes.scatter(x, y, s=24, color=LIGHT[colour], marker=_MARKERS[source], label=source)
    axes.set_xlabel(_label(entry["figure"]))
    axes.set_title(f"Pearson {entry['pearson']:.2f}, Spearman {entry['spearman']:.2f}", fontsize=10)
    axes.set_ylim(bottom=0)


def _intervals(axes: Axes, found: list[dict[str, Any]]) -> None:
    """One row per embedding: its best figure of overlap, and its 1-NN error."""
    embeddings = list(dict.fromkeys(entry["figure"].split(" | ")[0] for entry in found))
    for place, embedding in enumerate(embeddings):
        for offset, colour, wanted in ((-0.15, "test", is_overlap), (0.15, "chosen", is_neighbour)):
            best = next(e for e in found if e["figure"].startswith(f"{embedding} | ") and wanted(e["figure"]))
            reach = np.abs(np.array(best["pearson interval"]) - best["pearson"])[:, None]
            label = {"test": "overlap: best of its figures", "chosen": "1-NN error"}[colour] if place == 0 else None
            axes.errorbar(
                best["pearson"], place + offset, xerr=reach, fmt="o", ms=5, color=LIGHT[colour], capsize=2, label=label
            )
    axes.set_yticks(range(len(embeddings)), embeddings)
    axes.invert_yaxis()
    axes.set_xlabel("Pearson correlation with the test error")
    axes.set_title("95 % bootstrap intervals", fontsize=10)
    axes.legend(loc="upper left")


def is_overlap(figure: str) -> bool:
    """A figure of class overlap, by its name."""
    return not is_neighbour(figure) and not figure.endswith("silhouette")


def is_neighbour(figure: str) -> bool:
    """1-nearest-neighbour error, by its name."""
    return figure.endswith("1-NN error")


def _label(figure: str) -> str:
    embedding, name = figure.split(" | ")
    return f"{_LONG.get(name, name)}, {embedding}"
