"""The report as one HTML file: sections in order, style, data and scripts inlined, no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pyarrow as pa
from plotly.offline import get_plotlyjs

from search.report.failures import count_failures
from search.report.forecasts import judge_forecasts
from search.report.foretelling import compare_probes
from search.report.headline import write_headline
from search.report.markup import Markup, join, tag
from search.report.measurements import Finals
from search.report.progress import measure_progress
from search.report.scene import build_scene
from search.report.script import page_script
from search.report.sections.alternatives import alternatives
from search.report.sections.conditions import conditions, onward
from search.report.sections.cost import cost
from search.report.sections.failed import failed
from search.report.sections.forecasting import forecasting
from search.report.sections.front import front
from search.report.sections.growth import growth
from search.report.sections.network import network
from search.report.sections.out_of_distribution import out_of_distribution
from search.report.sections.probing import probing
from search.report.sections.top import top
from search.report.style import style_sheet


def build_page(table: pa.Table, finals: Finals, run: Path) -> str:
    """The whole page.

    Args:
        table: the run's archive.
        finals: the final measurements.
        run: the run's folder, for the commands to go on with.
    """
    headline = write_headline(table, finals)
    body = tag(
        "body",
        top(headline, finals),
        tag(
            "main",
            tag(
                "noscript",
                tag("p", "The figures need JavaScript; the tables and the PNG files beside this page do not."),
            ),
            front(build_scene(table, finals), finals),
            alternatives(finals),
            growth(measure_progress(table, finals), finals),
            network(finals),
            out_of_distribution(finals),
            probing(compare_probes(table)),
            forecasting(judge_forecasts(table), finals),
            failed(count_failures(table), table.num_rows),
            cost(finals),
            conditions(finals),
            onward(finals, run),
        ),
        tag("footer", f"Niwaki report of run {finals.name}, seed {finals.seed}."),
        _script(_plotly()),
        _script(page_script()),
    )
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_policy(_plotly(), page_script())}">'),
        tag("title", f"{finals.name}: {headline.title}"),
        tag("style", Markup(style_sheet())),
    )
    return join(Markup("<!doctype html>"), tag("html", head, body, lang="en"))


def _plotly() -> str:
    """Plotly's library; carriage returns would be changed by the HTML parser, and with them its hash."""
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


def _script(source: str) -> Markup:
    return tag("script", Markup(source))


def _policy(*scripts: str) -> str:
    """A policy under which the page fetches nothing, and runs these scripts and no other."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'" for source in scripts
    )
    return f"default-src 'none';style-src 'unsafe-inline';img-src data: blob:;script-src {hashes}"
