"""The report as one HTML file: style and pictures inlined, no script, no request to anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from search.complexity import sentences
from search.complexity.report import ComplexityReport
from search.report import wording
from search.report.markup import Child, Markup, join, tag
from search.report.style import style_sheet

_POLICY = "default-src 'none';style-src 'unsafe-inline';img-src data:"
_FIGURES = "figure img{display:block;max-width:100%;height:auto;border-radius:6px;background:#fff}"


def build_page(report: ComplexityReport, plots: Mapping[str, bytes]) -> str:
    """The whole page; ``plots`` as :func:`search.complexity.plots.draw_plots` gives them."""
    title = sentences.title(report)
    body = tag(
        "body",
        _top(report, title),
        tag("main", _overlap(report, plots), _reduced(report, plots), _pictures(report), _width(report)),
        tag("footer", sentences.method_line(report) + "."),
    )
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", f"{wording.plain(report.measured.source)}: {title}"),
        tag("style", Markup(style_sheet() + _FIGURES)),
    )
    return join(Markup("<!doctype html>"), tag("html", head, body, lang="en"))


def _top(report: ComplexityReport, title: str) -> Markup:
    m = report.measured
    return tag(
        "header",
        tag("p", join("Niwaki · complexity · ", tag("b", wording.plain(m.source))), class_="run"),
        tag("h1", title),
        *[tag("p", f"{w[0].upper()}{w[1:]}.", class_="lead alert") for w in report.warnings()],
        tag("p", f"{sentences.data_line(report)}.".replace("data ", "Data ", 1), class_="lead"),
    )


def _overlap(report: ComplexityReport, plots: Mapping[str, bytes]) -> Markup:
    pairs = sentences.shown_pairs(report)
    table = pairs and _table(
        ("Hardest pairs", "", "Overlap"),
        [(wording.plain(p.first), wording.plain(p.second), wording.percent(p.similarity)) for p in pairs],
        text_columns=2,
    )
    return _section(
        "Class overlap",
        tag("p", "Where the nearest images of two classes are of the same classes, a network will confuse them."),
        _figures(sentences.overlap_rows(report)),
        _figure(plots["confusion.png"], "Confusion foreseen", "Overlap of every pair of classes."),
        table or None,
        _figure(
            plots["class_map.png"],
            "Class map",
            "Classes that overlap lie near each other; lines join the hardest pairs.",
        ),
        _figure(
            plots["spectrum.png"],
            "Spectrum",
            "As many zeros as groups of classes stand apart; the earlier and higher it rises, the more they overlap.",
        ),
    )


def _reduced(report: ComplexityReport, plots: Mapping[str, bytes]) -> Markup:
    return _section(
        "A smaller set",
        tag("p", _sentence(sentences.reduction_line(report))),
        _figure(plots["reduction.png"], "CSG of parts", "CSG on stratified random parts, each half of the one before."),
    )


def _pictures(report: ComplexityReport) -> Markup:
    number = f"Means over {report.measured.pictures:,} training images."
    return _section("The images themselves", tag("p", number), _figures(sentences.picture_rows(report)))


def _width(report: ComplexityReport) -> Markup:
    return _section(
        "A narrower network",
        tag("p", _sentence(sentences.width_line(report))),
        tag("p", _sentence(sentences.width_caveat()), class_="quiet"),
    )


def _section(title: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), *children)


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:].rstrip('.')}."


def _figures(rows: Sequence[sentences.Row]) -> Markup:
    return _table(
        ("", "Value", "95% interval", "Reading"),
        [(r.name, r.value, r.interval or wording.UNKNOWN, r.reading) for r in rows],
        text_last=True,
    )


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1, text_last: bool = False
) -> Markup:
    def kind(column: int) -> str | None:
        if text_last and column == len(heads) - 1:
            return "t wide"
        return "t" if column < text_columns else None

    def row(cells: Sequence[str]) -> Markup:
        first, *rest = cells
        others = [tag("td", cell, class_=kind(i), data_label=heads[i]) for i, cell in enumerate(rest, start=1)]
        return tag("tr", tag("th", first, scope="row"), *others)

    cards = "cards" if text_last else None
    head = tag("tr", *[tag("th", name, scope="col", class_=kind(i)) for i, name in enumerate(heads)])
    return tag("table", tag("thead", head), tag("tbody", *[row(cells) for cells in rows]), class_=cards)


def _figure(png: bytes, title: str, caption: str) -> Markup:
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return tag("figure", tag("h3", title), Markup(f'<img src="{source}" alt="{title}">'), tag("figcaption", caption))
