"""Interactive figures: what all of them share, and how one is put into the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from search.report.axis import LogAxis
from search.report.markup import Child, Markup, tag
from search.report.palette import LIGHT

_FONT = 'Inter, -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def new_figure(x: str, y: str, height: int = 420) -> Any:
    """An empty figure with titled axes (quantity and unit) and nothing else."""
    axis = {
        "gridcolor": LIGHT["rule"],
        "linecolor": LIGHT["rule"],
        "zeroline": False,
        "ticks": "",
        "title": {"font": {"color": LIGHT["quiet"], "size": 13}, "standoff": 12},
        "tickfont": {"color": LIGHT["quiet"], "size": 13},
        "automargin": True,
    }
    figure = go.Figure()
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 56, "r": 16, "t": 20, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": _FONT, "color": LIGHT["ink"], "size": 13},
        hoverlabel={
            "bgcolor": LIGHT["panel"],
            "bordercolor": LIGHT["rule"],
            "font": {"family": _FONT, "color": LIGHT["ink"], "size": 13},
            "align": "left",
        },
        hovermode="closest",
        showlegend=False,
        xaxis=axis,
        yaxis=axis,
    )
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    return figure


def log_axis(axis: LogAxis, reverse: bool = False) -> dict[str, Any]:
    """Plotly's settings for a logarithmic axis of ours."""
    low, high = axis.exponents
    return {
        "type": "log",
        "range": [high, low] if reverse else [low, high],
        "tickvals": list(axis.ticks),
        "ticktext": list(axis.labels),
    }


def embed(
    figure: Any, summary: str, caption: Child, narrow: dict[str, Any] | None = None, legend: Child = None
) -> Markup:
    """The figure as HTML; the page's script draws it.

    Args:
        summary: what it shows, for those who cannot see it.
        caption: how to read it.
        narrow: changes of the layout on a phone.
        legend: from :func:`legend`.
    """
    smaller: dict[str, Any] = {"margin": {"l": 44, "r": 8, "t": 12, "b": 48}, **(narrow or {})}
    source = Markup(f'{{"figure":{_json(figure.to_json())},"narrow":{_json(json.dumps(smaller))}}}')
    return tag(
        "figure",
        legend,
        tag("div", "", class_="plot", role="img", aria_label=summary),
        tag("script", source, type="application/json"),
        tag("figcaption", caption),
        data_figure="",
    )


def _json(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def legend(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """A legend from (symbol, name of its colour, meaning)."""
    items = [
        tag("li", tag("span", symbol, style=f"color:var(--{colour})", aria_hidden="true"), meaning)
        for symbol, colour, meaning in entries
    ]
    return tag("ul", *items, class_="legend")
