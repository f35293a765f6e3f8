"""Did the search beat the plain alternatives? Verdicts, every seed, and the differences with their intervals."""

from __future__ import annotations

import math
from typing import Any

from search.report import wording
from search.report.interactive import embed, legend, new_figure
from search.report.markup import Markup, tag, text
from search.report.measurements import Control, Finals, Measured, mean
from search.report.palette import LIGHT
from search.report.verdict import LABELS, Verdict, tally

_OUTCOMES = {True: "beaten", False: "LOST", None: "not told apart"}


def alternatives(finals: Finals) -> Markup:
    """The section; says so where there is nothing to compare."""
    title = tag("h2", "Did the search beat the plain alternatives?")
    if not finals.controls and not finals.verdicts:
        return tag(
            "section", title, tag("p", "No controls were trained, so that nothing can be said."), id="alternatives"
        )
    summary = tally(finals.verdicts)
    lead = f"The search {summary}." if summary else "No verdict was reached."
    plots = [embed_figure for embed_figure in (_seeds(finals), _differences(finals)) if embed_figure is not None]
    return tag(
        "section",
        title,
        tag("p", lead),
        _table(finals),
        tag("div", *plots, class_="pair") if plots else None,
        id="alternatives",
    )


_SHORT = {"bar": "gates", "push_prune": "push, prune"}
"""Beside an axis, where a control's own name would say nothing."""


def _label(name: str) -> str:
    return LABELS.get(name, name)


def _table(finals: Finals) -> Markup:
    heads = ("Alternative", "Parameters", "Test, mean", "Difference", "Verdict")
    verdicts = {v.name: v for v in finals.verdicts}
    controls = {c.name: c for c in finals.controls}
    rows = [_row(n, controls.get(n), verdicts.get(n), finals, heads) for n in dict.fromkeys([*controls, *verdicts])]
    head = tag("tr", *[tag("th", h, scope="col", class_="t" if h == "Verdict" else None) for h in heads])
    about = "Difference: test accuracy of the chosen network minus the alternative’s, with its 95% interval."
    return tag("table", tag("caption", about), tag("thead", head), tag("tbody", *rows), class_="cards")


def _row(name: str, control: Control | None, verdict: Verdict | None, finals: Finals, heads: tuple[str, ...]) -> Markup:
    about = control.about if control else ""
    params, beside, test, seeds = wording.UNKNOWN, "", wording.UNKNOWN, ""
    if control is not None:
        params, beside = wording.count(control.params), _beside(control, finals.chosen_network)
        test, seeds = wording.percent(control.mean_test), _seed_note(control)
    difference, interval, outcome = wording.UNKNOWN, "", "not compared"
    if verdict is not None and verdict.difference is not None:
        outcome = _OUTCOMES[verdict.beat]
        difference = f"{wording.signed(verdict.difference)} points"
        if verdict.low is not None and verdict.high is not None:
            interval = wording.bracket(verdict.low, verdict.high)
        else:
            interval = "no interval"
    symbol = (
        "" if verdict is None or verdict.difference is None else {True: "✓ ", False: "✗ ", None: "≈ "}[verdict.beat]
    )
    cells = [(params, beside), (test, seeds), (difference, interval)]
    return tag(
        "tr",
        tag("th", _label(name), tag("small", about) if about else None, scope="row"),
        *[
            tag("td", value, tag("small", note) if note else None, data_label=label)
            for (value, note), label in zip(cells, heads[1:-1], strict=True)
        ],
        tag("td", symbol + outcome, data_label=heads[-1], class_="t wide"),
    )


def _beside(control: Control, chosen: Measured | None) -> str:
    """Whether the control is as large as the chosen network: a comparison at another cost must show it."""
    if chosen is None or not chosen.params:
        return ""
    difference = control.params / chosen.params - 1
    if abs(difference) < 0.005:
        return "as chosen"
    return f"{abs(difference):.0%} {'larger' if difference > 0 else 'smaller'}"


def _seed_note(control: Control) -> str:
    finished = sum(map(math.isfinite, control.test))
    missing = len(control.test) - finished
    return wording.plural(finished, "seed") + (f", {missing} failed" if missing else "")


def _rows(finals: Finals) -> list[tuple[str, tuple[float, ...], str, str]]:
    """(label, test accuracies, symbol, colour) from top to bottom."""
    rows = []
    if any(map(math.isfinite, finals.chosen_test)):
        rows.append(("chosen", finals.chosen_test, "star", "chosen"))
    rows += [
        (_SHORT.get(c.name, c.name), c.test, "circle", "control")
        for c in finals.controls
        if any(map(math.isfinite, c.test))
    ]
    return rows


def _seeds(finals: Finals) -> Markup | None:
    """Every training as a point, every mean as a stroke."""
    rows = _rows(finals)
    if not rows:
        return None
    figure = new_figure("test accuracy in %", "", 90 + 44 * len(rows))
    for label, values, symbol, colour in rows:
        finite = [100 * v for v in values if math.isfinite(v)]
        size = 12 if symbol == "star" else 9
        figure.add_scatter(
            x=finite, y=[text(label)] * len(finite), mode="markers", opacity=0.75,
            marker={"symbol": symbol, "size": size, "color": LIGHT[colour]}, hovertemplate="%{x:.2f}%<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[100 * mean(values)], y=[text(label)], mode="markers",
            marker={"symbol": "line-ns", "size": 24, "line": {"width": 2, "color": LIGHT[colour]}},
            hovertemplate="mean %{x:.2f}%<extra></extra>",
        )  # fmt: skip
    _rows_axis(figure, len(rows))
    return embed(
        figure,
        f"Test accuracy of {len(rows)} networks, one point per seed.",
        "Test accuracy of each training; the stroke is the mean.",
        legend=legend([("★", "chosen", "chosen"), ("●", "control", "alternative"), ("|", "quiet", "mean")]),
    )


def _differences(finals: Finals) -> Markup | None:
    """Differences with intervals around the line of no difference."""
    known = [v for v in finals.verdicts if v.difference is not None]
    if not known:
        return None
    figure = new_figure("difference, percentage points", "", 90 + 44 * max(len(known), len(_rows(finals))))
    figure.add_vline(x=0, line={"color": LIGHT["quiet"], "width": 1.2})
    for verdict in known:
        middle = float(verdict.difference or 0.0)
        low, high = (middle if end is None else end for end in (verdict.low, verdict.high))
        open_ = verdict.beat is None
        figure.add_scatter(
            x=[middle],
            y=[text(_SHORT.get(verdict.name, verdict.name))],
            mode="markers",
            marker={
                "size": 10,
                "color": LIGHT["paper"] if open_ else LIGHT["ink"],
                "line": {"color": LIGHT["ink"], "width": 1.6},
            },
            error_x={
                "type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low],
                "color": LIGHT["ink"], "thickness": 1.6, "width": 0,
            },
            hovertext=[text(verdict.sentence)],
            hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    _rows_axis(figure, len(known))
    return embed(
        figure,
        "Differences of test accuracy between the chosen network and each alternative, with intervals.",
        "Right of the line the search was better. Bars are 95% intervals, each on its own; no bar: too few seeds.",
        legend=legend([("●", "ink", "told apart"), ("○", "ink", "not told apart")]),
    )


def _rows_axis(figure: Any, rows: int) -> None:
    figure.update_yaxes(autorange=False, range=[rows - 0.4, -0.6], showgrid=False, title_text="", type="category")
    figure.update_xaxes(nticks=6)
