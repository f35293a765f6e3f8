"""The report as one HTML file: style and pictures inlined, no script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.complexity import sentences
from search.complexity.report import ComplexityReport
from search.report import wording
from search.report.markup import Markup, join, tag
from search.report.plain import document, figure, section, sentence, table


def build_page(report: ComplexityReport, plots: Mapping[str, bytes]) -> str:
    """The whole page; ``plots`` as :func:`search.complexity.plots.draw_plots` gives them."""
    title = sentences.title(report)
    body = tag(
        "body",
        _top(report, title),
        tag("main", _overlap(report, plots), _reduced(report, plots), _pictures(report), _width(report)),
        tag("footer", sentences.method_line(report) + "."),
    )
    return document(f"{wording.plain(report.measured.source)}: {title}", body)


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
    hardest = pairs and table(
        ("Hardest pairs", "", "Overlap"),
        [(wording.plain(p.first), wording.plain(p.second), wording.percent(p.similarity)) for p in pairs],
        text_columns=2,
    )
    return section(
        "Class overlap",
        tag("p", "Where the nearest images of two classes are of the same classes, a network will confuse them."),
        _figures(sentences.overlap_rows(report)),
        figure(plots["confusion.png"], "Confusion foreseen", "Overlap of every pair of classes."),
        hardest or None,
        figure(
            plots["class_map.png"],
            "Class map",
            "Classes that overlap lie near each other; lines join the hardest pairs.",
        ),
        figure(
            plots["spectrum.png"],
            "Spectrum",
            "As many zeros as groups of classes stand apart; the earlier and higher it rises, the more they overlap.",
        ),
    )


def _reduced(report: ComplexityReport, plots: Mapping[str, bytes]) -> Markup:
    return section(
        "A smaller set",
        tag("p", sentence(sentences.reduction_line(report))),
        figure(plots["reduction.png"], "CSG of parts", "CSG on stratified random parts, each half of the one before."),
    )


def _pictures(report: ComplexityReport) -> Markup:
    number = f"Means over {report.measured.pictures:,} training images."
    return section("The images themselves", tag("p", number), _figures(sentences.picture_rows(report)))


def _width(report: ComplexityReport) -> Markup:
    return section(
        "A narrower network",
        tag("p", sentence(sentences.width_line(report))),
        tag("p", sentence(sentences.width_caveat()), class_="quiet"),
    )


def _figures(rows: Sequence[sentences.Row]) -> Markup:
    return table(
        ("", "Value", "95% interval", "Reading"),
        [(r.name, r.value, r.interval or wording.UNKNOWN, r.reading) for r in rows],
        text_last=True,
    )
