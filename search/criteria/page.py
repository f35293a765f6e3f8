"""The report as one HTML file: style and pictures inlined, no script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from search.criteria import sentences
from search.criteria.report import CriteriaReport
from search.criteria.tree import ALIKE
from search.report import wording
from search.report.markup import Markup, join, tag
from search.report.plain import document, figure, section, sentence, table

_TABLES = "table{font-size:14px}"


def build_page(report: CriteriaReport, plots: Mapping[str, bytes]) -> str:
    """The whole page; ``plots`` as :func:`search.criteria.plots.draw_plots` gives them."""
    title = sentences.title(report)
    subject = f"{wording.plain(report.measured.network)} on {wording.plain(report.measured.source)}"
    body = tag(
        "body",
        tag(
            "header",
            tag("p", join("Niwaki · criteria · ", tag("b", subject)), class_="run"),
            tag("h1", title),
            tag("p", sentence(sentences.data_line(report)), class_="lead"),
            tag("p", sentence(sentences.method_line(report)), class_="quiet"),
        ),
        tag("main", _blocks(report, plots), _pruned(plots), _criteria(report), _groups(report, plots)),
        tag("footer", "Written by niwaki criteria; all figures are in criteria.json beside this page."),
    )
    return document(f"{subject}: {title}", body, _TABLES)


def _blocks(report: CriteriaReport, plots: Mapping[str, bytes]) -> Markup:
    items = [tag("p", sentence(line(report))) for line in (sentences.blocks_line, sentences.kinds_line)]
    return section(
        "Which criteria rank alike",
        *items,
        figure(
            plots["agreement.png"],
            "Rank correlation",
            f"Above, criteria join where their mean rank correlation is ρ; what joins below the line (ρ of {ALIKE}) is "
            "one block. Below, every pair.",
        ),
    )


def _pruned(plots: Mapping[str, bytes]) -> Markup:
    return section(
        "Which criteria prune alike",
        figure(
            plots["pruned_sets.png"],
            "Agreement of pruned sets",
            "κ does not see the order among the channels that stay, which no pruning depends on. Same order as above.",
        ),
    )


def _criteria(report: CriteriaReport) -> Markup:
    rows = sentences.criteria_rows(report)
    return section("Criterion by criterion", table(_heads(sentences.CRITERIA_HEADS), rows, 3, text_last=True))


def _groups(report: CriteriaReport, plots: Mapping[str, bytes]) -> Markup:
    return section(
        "Group by group",
        tag("p", sentence(sentences.left_out_line(report))),
        figure(
            plots["groups.png"],
            "Agreement in every group",
            "A criterion’s mean correlation with all others but random; grey where it was left out. Groups from input "
            "to output.",
        ),
        table(_heads(sentences.GROUP_HEADS), sentences.group_rows(report), text_last=True),
    )


def _heads(names: tuple[str, ...]) -> list[str]:
    return [name if name[0] in "ρκ" else f"{name[0].upper()}{name[1:]}" for name in names]
