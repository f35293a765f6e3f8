"""The front: an interactive picture of what each cost buys, above the table of its networks."""

from __future__ import annotations

import math
from typing import Any

from search.report import wording
from search.report.axis import error
from search.report.interactive import embed, legend, log_axis, new_figure
from search.report.markup import Markup, tag, text
from search.report.measurements import Finals, Measured
from search.report.palette import LIGHT
from search.report.scene import Scene
from search.report.sections.front_table import front_table
from search.report.verdict import LABELS

CONTROL_SYMBOLS = (
    ("square", "■"),
    ("triangle-up", "▲"),
    ("triangle-down", "▼"),
    ("cross", "✚"),
    ("hexagon", "⬢"),
    ("triangle-left", "◀"),
    ("triangle-right", "▶"),
)
"""Plotly's name and the character of the symbol of each control."""


def front(scene: Scene, finals: Finals) -> Markup:
    """The front's section."""
    if not finals.front:
        intro = "The front is empty: no trained candidate reached it."
    else:
        many = f"{len(finals.front):,} networks, none of them beaten by another in both cost and validation accuracy."
        one = "One network, the best of all in both cost and validation accuracy."
        intro = (
            f"{one if len(finals.front) == 1 else many} Selection saw validation images only; filled points are "
            "accuracies on held-out test images."
        )
    return tag(
        "section",
        tag("h2", "What each size buys"),
        tag("p", intro),
        embed(
            _figure(scene, finals), _summary(scene, finals), _caption(scene, finals), {"height": 400}, _legend(scene)
        ),
        tag("h3", "Every network on the front"),
        front_table(finals),
        id="front",
    )


def _figure(scene: Scene, finals: Finals) -> Any:
    measure = finals.cost
    figure = new_figure(f"{wording.MEASURES[measure]} (log scale)", "accuracy in % (on the scale of the error)", 480)
    figure.update_xaxes(**log_axis(scene.x))
    figure.update_yaxes(**log_axis(scene.y, reverse=True))

    def add(points: list[tuple[float, float, str]], symbol: str, colour: str, size: float, **more: Any) -> None:
        shown = [p for p in points if math.isfinite(p[1])]
        figure.add_scatter(
            x=[p[0] for p in shown],
            y=[error(p[1], scene.floor) for p in shown],
            hovertext=[p[2] for p in shown],
            hovertemplate="%{hovertext}<extra></extra>",
            mode="markers",
            marker={"symbol": symbol, "color": LIGHT[colour], "size": size, **more},
        )

    short = wording.SHORT_MEASURES[measure]
    add(
        [(s.cost, s.accuracy, _hover(s.candidate, short, s.cost, f"{scene.passing} {wording.percent(s.accuracy)}"))
         for s in scene.probes],
        "circle", "faint", 4, opacity=0.45,
    )  # fmt: skip
    _links(figure, scene, finals)
    add(
        [(s.cost, s.accuracy, _hover(s.candidate, short, s.cost, f"validation {wording.percent(s.accuracy)}"))
         for s in scene.trained],
        "circle-open", "validation", 8, line={"width": 1.6},
    )  # fmt: skip
    if scene.stairs:
        figure.add_scatter(
            x=[c for c, _ in scene.stairs],
            y=[error(a, scene.floor) for _, a in scene.stairs],
            mode="lines",
            line={"color": LIGHT["test"], "width": 1.2, "shape": "hv"},
            hoverinfo="skip",
            opacity=0.55,
        )
    add([_network(m, finals) for m in scene.front], "circle", "test", 9)
    for (symbol, _), control in zip(_cycled(len(scene.controls)), scene.controls, strict=True):
        name = LABELS.get(control.name, control.name)
        result = f"test {wording.percent(control.mean_test)}, mean of {wording.plural(len(control.test), 'seed')}"
        hover = _hover(name, short, control.cost(measure), result)
        add([(control.cost(measure), control.mean_test, hover)], symbol, "control", 9)
    add([_network(scene.base, finals)], "diamond", "ink", 11)
    if scene.chosen is not None:
        edge = {"width": 1.5, "color": LIGHT["paper"]}
        add([_network(scene.chosen, finals)], "star", "chosen", 18, line=edge)
    if scene.limit is not None:
        figure.add_vline(x=scene.limit, line={"color": LIGHT["quiet"], "width": 1.2, "dash": "dash"})
    return figure


def _links(figure: Any, scene: Scene, finals: Finals) -> None:
    """A dotted line from each network's validation accuracy, which selection saw, to its held-out one."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for m in finals.front:
        if math.isfinite(m.validation_accuracy) and math.isfinite(m.test_accuracy):
            xs += [m.cost(finals.cost)] * 2 + [None]
            ys += [error(m.validation_accuracy, scene.floor), error(m.test_accuracy, scene.floor), None]
    figure.add_scatter(
        x=xs, y=ys, mode="lines", line={"color": LIGHT["validation"], "width": 1.2, "dash": "dot"}, hoverinfo="skip"
    )


def _cycled(number: int) -> list[tuple[str, str]]:
    return [CONTROL_SYMBOLS[i % len(CONTROL_SYMBOLS)] for i in range(number)]


def _network(m: Measured, finals: Finals) -> tuple[float, float, str]:
    line = f"test {wording.percent(m.test_accuracy)}, validation {wording.percent(m.validation_accuracy)}"
    more = f"{wording.share(finals.share(m))} of the base network"
    if m.latency is not None:
        more += f", {wording.milliseconds(m.latency.median_ms)}"
    cost = m.cost(finals.cost)
    hover = _hover(m.candidate, wording.SHORT_MEASURES[finals.cost], cost, f"{line}<br>{more}")
    return float(cost), m.test_accuracy, hover


def _hover(name: str, measure: str, cost: float, line: str) -> str:
    return f"<b>{text(name)}</b><br>{wording.count(cost)} {measure}<br>{line}"


ABOUT = {
    "probe": "A probe is the pruned network before any training.",
    "member": "A member is a network of the population after an interval of training, its ancestors’ included.",
}


def _legend(scene: Scene) -> Markup:
    entries = [("★", "chosen", "chosen")] if scene.chosen is not None else []
    if scene.front:
        entries.append(("●", "test", "front"))
    if scene.trained:
        entries.append(("○", "validation", "trained (validation)"))
    if scene.probes:
        entries.append(("●", "faint", f"{scene.passing} (validation)"))
    entries.append(("◆", "ink", "base network"))
    entries += [
        (glyph, "control", LABELS.get(c.name, c.name))
        for (_, glyph), c in zip(_cycled(len(scene.controls)), scene.controls, strict=True)
    ]
    if scene.limit is not None:
        entries.append(("┆", "quiet", "budget"))
    return legend(entries)


def _summary(scene: Scene, finals: Finals) -> str:
    passing = wording.plural(scene.probe_count, scene.passing)
    return (
        f"Scatter plot of {wording.MEASURES[finals.cost]} against accuracy: {passing}, "
        f"{len(scene.trained)} trained candidates, {len(finals.front)} on the front."
    )


def _caption(scene: Scene, finals: Finals) -> str:
    parts = ["Up and to the left is better. Equal steps upwards divide the errors by equal factors."]
    if scene.probes:
        parts.append(ABOUT[scene.passing])
    if scene.stairs:
        parts.append(
            "The stairs are the best held-out accuracy within each size. "
            "A dotted line joins a network’s validation and test accuracy."
        )
    if len(scene.probes) < scene.probe_count:
        parts.append(f"{len(scene.probes):,} of {wording.plural(scene.probe_count, scene.passing)} are drawn.")
    others = [m for m in finals.budget if m != finals.cost]
    if others:
        limits = wording.listed([f"{wording.count(finals.budget[m])} {wording.SHORT_MEASURES[m]}" for m in others])
        parts.append(f"The budget also allows at most {limits}.")
    return " ".join(parts)
