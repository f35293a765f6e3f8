"""Charts as inline SVG, drawn once wide and once narrow: no script, no request, the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.report.axis import LogAxis
from search.report.markup import Markup, tag

NARROW = (364, 250)
STYLE = (
    "svg{display:block;width:100%;height:auto}svg text{fill:var(--quiet);font-size:13px}"
    ".narrow{display:none}@media (max-width:720px){.wide{display:none}.narrow{display:block}}"
)

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 46


@dataclass(frozen=True)
class Scale:
    """One side of a chart from ``low`` to ``high`` with labelled ticks; ``reverse`` puts the least at the far end."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False
    reverse: bool = False

    def at(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / ((high - low) or 1.0)
        return min(max(1 - share if self.reverse else share, 0.0), 1.0)


@dataclass(frozen=True)
class Mark:
    """Points drawn as ``dots``, as one ``line``, or as ``steps`` from left to right.

    Attributes:
        colour: a name of :data:`search.report.palette.LIGHT`.
        titles: what each dot tells a reader who points at it; as many as points, or none.
    """

    kind: str
    points: Sequence[tuple[float, float]]
    colour: str
    size: float = 2.0
    titles: Sequence[str] = ()
    dashed: bool = False
    hollow: bool = False
    faint: bool = False


def log_scale(title: str, axis: LogAxis, reverse: bool = False) -> Scale:
    """A scale of a report's axis."""
    ticks = tuple(zip(axis.ticks, axis.labels, strict=True))
    return Scale(title, axis.low, axis.high, ticks, log=True, reverse=reverse)


def linear_scale(title: str, low: float, high: float, whole: bool = False) -> Scale:
    """A scale with about four round ticks; of whole numbers alone where ``whole``."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span / 4)
    step = max(step, 1.0) if whole else step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((i * step, f"{i * step:,.{digits}f}".replace("-", "−")) for i in range(first, last + 1))
    return Scale(title, low, low + span, ticks)


def chart(summary: str, caption: str, x: Scale, y: Scale, marks: Sequence[Mark], wide: tuple[int, int]) -> Markup:
    """A figure: the drawing for wide and for narrow screens, and its caption; ``wide`` is its size in pixels."""
    drawings = [_draw(summary, x, y, marks, *size, kind) for size, kind in ((wide, "wide"), (NARROW, "narrow"))]
    return tag("figure", *drawings, tag("figcaption", caption))


def _draw(summary: str, x: Scale, y: Scale, marks: Sequence[Mark], width: int, height: int, kind: str) -> Markup:
    inner, tall = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return _LEFT + inner * x.at(point[0]), _TOP + tall * (1 - y.at(point[1]))

    parts = [tag("title", summary)]
    for value, label in y.ticks:
        _, down = place((x.low, value))
        parts.append(_path(f"M{_LEFT} {down:.1f}H{width - _RIGHT}", "rule", 1))
        parts.append(_text(label, _LEFT - 8, down + 4, "end"))
    room = math.inf
    for value, label in sorted(x.ticks, key=lambda tick: -place((tick[0], y.low))[0]):
        across, _ = place((value, y.low))
        parts.append(_path(f"M{across:.1f} {_TOP}V{height - _BOTTOM}", "rule", 1))
        half = 4.0 * len(label)
        if across + half < room:  # on a narrow screen, labels that would touch are left out
            parts.append(_text(label, min(across, width - half), height - _BOTTOM + 18, "middle"))
            room = across - half - 8
    for mark in marks:
        parts += _mark(mark, [place(point) for point in mark.points])
    parts.append(_text(x.title, _LEFT + inner / 2, height - 6, "middle"))
    parts.append(_text(y.title, -(_TOP + tall / 2), 12, "middle", transform="rotate(-90)"))
    return tag("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", class_=kind)


def _mark(mark: Mark, places: Sequence[tuple[float, float]]) -> list[Markup]:
    if not places:
        return []
    if mark.kind == "dots" and mark.titles:
        return [_dot(mark, spot, title) for spot, title in zip(places, mark.titles, strict=True)]
    if mark.kind == "dots":
        # One path of lines without length and with round ends: thousands of dots weigh little.
        return [_path("".join(f"M{a:.1f} {b:.1f}h0" for a, b in places), mark.colour, 2 * mark.size, mark.faint)]
    joints = [f"M{places[0][0]:.1f} {places[0][1]:.1f}"]
    joints += [f"H{a:.1f}V{b:.1f}" if mark.kind == "steps" else f"L{a:.1f} {b:.1f}" for a, b in places[1:]]
    return [_path("".join(joints), mark.colour, mark.size, mark.faint, mark.dashed)]


def _dot(mark: Mark, spot: tuple[float, float], title: str) -> Markup:
    fill = "var(--paper)" if mark.hollow else f"var(--{mark.colour})"
    style = f"fill:{fill};stroke:var(--{mark.colour});stroke-width:1.4"
    return tag("circle", tag("title", title), cx=f"{spot[0]:.1f}", cy=f"{spot[1]:.1f}", r=f"{mark.size:g}", style=style)


def _path(path: str, colour: str, width: float, faint: bool = False, dashed: bool = False) -> Markup:
    style = f"fill:none;stroke:var(--{colour});stroke-width:{width:g};stroke-linecap:round"
    style += ";stroke-opacity:.45" if faint else ""
    style += ";stroke-dasharray:4 5" if dashed else ""
    return tag("path", d=path, style=style)


def _text(text: str, x: float, y: float, anchor: str, transform: str | None = None) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, transform=transform)
