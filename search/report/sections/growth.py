"""How the front grew: hypervolume over evaluations and over device time."""

from __future__ import annotations

from typing import Any

from search.report import wording
from search.report.interactive import embed, legend, new_figure
from search.report.markup import Markup, tag
from search.report.measurements import Finals
from search.report.palette import LIGHT
from search.report.progress import Progress, volume_range
from search.report.units import time_unit


def growth(progress: Progress, finals: Finals) -> Markup:
    """The section: two staircases with one scale, and the held-out value beside their end."""
    title = tag("h2", "How the front grew")
    if progress.final == 0:
        why = "The front stayed empty, and its hypervolume zero."
        return tag("section", title, tag("p", why), id="growth")
    divisor, unit = time_unit(progress.seconds[-1])
    seconds = tuple(s / divisor for s in progress.seconds)
    reference = " and ".join(f"{r:g}" for r in dict.fromkeys(finals.hypervolume.reference))
    about = (
        f"The hypervolume is the area of (error, {wording.SHORT_MEASURES[finals.cost]} ÷ base) that the front "
        f"dominates, up to {reference} in both: more is better. It ends at {_value(finals.hypervolume.validation)} on "
        f"validation images, which selection saw, and at {_value(finals.hypervolume.test)} on held-out ones."
    )
    entries = [("━", "validation", "validation"), ("◆", "test", "held-out test, at the end")]
    return tag(
        "section",
        title,
        tag("p", about),
        legend(entries),
        tag(
            "div",
            embed(
                _figure(progress.evaluations, "evaluations committed", progress, finals),
                "Hypervolume over evaluations.",
                "Over evaluations, probes and trainings alike; it is zero until the first training.",
                {"height": 280},
            ),
            embed(
                _figure(seconds, f"device time in {unit}", progress, finals),
                "Hypervolume over device time.",
                "Over device time of all workers together; base network and controls are not counted.",
                {"height": 280},
            ),
            class_="pair",
        ),
        id="growth",
    )


def _value(volume: float) -> str:
    return f"{volume:.3f}" if volume == volume else wording.UNKNOWN


def _figure(x: tuple[float, ...], title: str, progress: Progress, finals: Finals) -> Any:
    figure = new_figure(title, "hypervolume", 320)
    figure.add_scatter(
        x=x,
        y=progress.volumes,
        mode="lines",
        line={"shape": "hv", "color": LIGHT["validation"], "width": 2.4},
        hovertemplate="%{x:,.4~g}: %{y:.4f}<extra></extra>",
    )
    held_out = finals.hypervolume.test
    if held_out == held_out:
        figure.add_scatter(
            x=x[-1:],
            y=[held_out],
            mode="markers",
            marker={"symbol": "diamond", "size": 10, "color": LIGHT["test"]},
            cliponaxis=False,
            hovertemplate="held-out %{y:.4f}<extra></extra>",
        )
    figure.update_xaxes(rangemode="tozero", nticks=6)
    figure.update_yaxes(range=list(volume_range(progress, held_out)), nticks=6)
    return figure
