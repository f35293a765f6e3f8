"""What failed, and why."""

from __future__ import annotations

from collections.abc import Sequence

from search.report import wording
from search.report.failures import Failure
from search.report.markup import Markup, tag


def failed(failures: Sequence[Failure], evaluations: int) -> Markup:
    """The section: failures by reason, with the first messages."""
    title = tag("h2", "What failed")
    if not failures:
        none = f"None of {wording.plural(evaluations, 'evaluation')}." if evaluations else "Nothing was evaluated."
        return tag("section", title, tag("p", none), id="failures")
    total = sum(f.count for f in failures)
    lead = (
        f"{total:,} of {wording.plural(evaluations, 'evaluation')}. A failure is a row of the archive; it never ranks, "
        "and never ends a search."
    )
    heads = ("Reason", "Count", "Device time", "First messages")
    head = tag("tr", *[tag("th", h, scope="col", class_="t" if h == heads[-1] else None) for h in heads])
    body = tag("tbody", *[_row(f, heads) for f in failures])
    return tag("section", title, tag("p", lead), tag("table", tag("thead", head), body, class_="cards"), id="failures")


def _row(failure: Failure, heads: tuple[str, ...]) -> Markup:
    messages = [
        tag(
            "div",
            tag("code", message if len(message) <= 300 else message[:299] + "…"),
            tag("small", f"evaluation {number}"),
        )
        for number, message in failure.messages
    ]
    return tag(
        "tr",
        tag("th", failure.meaning, scope="row"),
        tag("td", f"{failure.count:,}", data_label=heads[1]),
        tag("td", wording.duration(failure.seconds), data_label=heads[2]),
        tag("td", *messages, data_label=heads[3], class_="t wide"),
    )
