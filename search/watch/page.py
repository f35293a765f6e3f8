"""The live page: one HTML file without any script, which a browser reads again every few seconds while the run goes on.

All that a run holds is text of strangers: class names, paths, messages of errors. It goes through
:mod:`search.report.markup`, which escapes by construction; and the page's policy allows no script, no form, no request.
"""

from __future__ import annotations

from search.report import wording
from search.report.headline import write_headline
from search.report.markup import Child, Markup, join, tag
from search.report.plain import table
from search.report.sections.failed import failed
from search.report.style import style_sheet
from search.standing import FAILED, FINISHED, LOST
from search.watch import chart
from search.watch.figures import front_picture, record_picture, volume_picture
from search.watch.snapshot import Snapshot
from search.watch.words import PURPOSES, figures, forecasts, remarks, seconds, title

POLICY = "default-src 'none';style-src 'unsafe-inline';base-uri 'none';form-action 'none'"
FRONT_ROWS, WORKER_ROWS = 12, 20

_STYLE = (
    chart.STYLE
    + ".bar{margin:6px 0 0}.bar i{background:var(--test)}h1{max-width:none}header .bar{height:8px;margin:0 0 20px}"
    + ".pair section{margin-top:0}.alert{overflow-wrap:anywhere}.facts dd small{overflow-wrap:anywhere}"
    + "@media (min-width:721px){.facts{grid-template-columns:repeat(3,1fr)}}"
    + "@media (min-width:1000px){.facts{grid-template-columns:repeat(6,auto)}.facts dd{font-size:22px}}"
    # On a phone the front's table does without the share of the base network.
    + "@media (max-width:720px){#front tr>:nth-child(3){display:none}th,td{padding-left:12px}"
    + ".pair section+section{margin-top:46px}}"
)


def build_page(snapshot: Snapshot, refresh: int | None = None) -> str:
    """The page of a look at a run.

    Args:
        refresh: seconds until the browser is to read the page again; None for a page that stands still. A run that
            has ended stands still anyway.
    """
    again = None
    if refresh is not None and not snapshot.ended:
        again = Markup(f'<meta http-equiv="refresh" content="{refresh:d}">')
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        again,
        tag("title", f"{snapshot.config.name}: {title(snapshot)}"),
        tag("style", Markup(style_sheet() + _STYLE)),
    )
    body = tag("body", _top(snapshot), tag("main", *_sections(snapshot)), _bottom(snapshot, again is not None))
    return join(Markup("<!doctype html>"), tag("html", head, body, lang="en"))


def problem_page(message: str, refresh: int) -> str:
    """What is shown where the run cannot be read just now."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Markup(f'<meta http-equiv="refresh" content="{refresh:d}">'),
        tag("title", "niwaki"),
        tag("style", Markup(style_sheet() + _STYLE)),
    )
    body = tag("header", tag("h1", "This run cannot be read"), tag("p", wording.plain(message), class_="lead alert"))
    return join(Markup("<!doctype html>"), tag("html", head, tag("body", body), lang="en"))


def _top(snapshot: Snapshot) -> Markup:
    run = join("Niwaki · run ", tag("b", snapshot.config.name), f" · {snapshot.config.data.source}")
    bad = snapshot.phase in (FAILED, LOST)
    facts = [tag("div", tag("dt", n), tag("dd", value, tag("small", beside))) for n, value, beside in figures(snapshot)]
    lines = [
        tag("p", *_coded(line), class_="alert" if bad and "failed" in line[:10] else None) for line in remarks(snapshot)
    ]
    warnings = snapshot.standing.warnings if snapshot.standing else ()
    bar = None
    if snapshot.expected and not snapshot.ended:
        bar = _bar(snapshot.done / snapshot.expected)
    return tag(
        "header",
        tag("p", run, class_="run"),
        tag("h1", title(snapshot)),
        bar,
        *lines,
        *[tag("p", f"Warning: {wording.plain(text)}", class_="alert") for text in warnings],
        _outcome(snapshot),
        tag("dl", *facts, class_="facts"),
    )


def _coded(line: str) -> list[Child]:
    """Text with what stands between backticks set as code."""
    return [tag("code", part) if i % 2 else part for i, part in enumerate(line.split("`"))]


def _outcome(snapshot: Snapshot) -> Markup | None:
    """What came of a finished run, and of which classes its images are."""
    finals = snapshot.finals
    if finals is None:
        return None
    headline = write_headline(snapshot.table, finals)
    classes = wording.listed([wording.plain(name) for name in finals.data.classes])
    data = f"Images of {wording.plural(len(finals.data.classes), 'class')}: {classes}."
    return join(tag("p", tag("b", f"{headline.title}.")), *[tag("p", d) for d in (*headline.details, data)])


def _sections(snapshot: Snapshot) -> list[Markup]:
    picture = front_picture(snapshot)
    heading = "The front" if snapshot.phase == FINISHED else "The front so far"
    nothing = tag("p", "Nothing was measured yet.")
    parts = [tag("section", tag("h2", heading), picture or nothing, _front(snapshot), id="front")]
    volume = volume_picture(snapshot.progress) or tag("p", "It is zero until the first training within budget ends.")
    record = record_picture(snapshot)
    about = tag("p", forecasts(snapshot), class_="quiet")
    grown = tag("section", tag("h2", "Hypervolume"), volume, id="growth")
    foretold = tag("section", tag("h2", "Forecasts"), about, record, id="forecasts")
    parts.append(tag("section", tag("div", grown, foretold, class_="pair")))
    parts.append(tag("section", tag("h2", "Evaluations"), _stages(snapshot), id="evaluations"))
    parts.append(tag("section", tag("h2", "Workers"), _workers(snapshot), id="workers"))
    parts.append(failed(snapshot.failures, snapshot.done))
    parts.append(tag("section", tag("h2", "Cost so far"), _cost(snapshot), id="cost"))
    return parts


def _front(snapshot: Snapshot) -> Markup | None:
    if not snapshot.front:
        return None
    cost = wording.SHORT_MEASURES[snapshot.config.search.cost].capitalize().replace("Macs", "MACs")
    heads = ("Candidate", cost, "Share", "Validation", "To base")
    rows = [
        (m.candidate, wording.count(m.cost), wording.share(m.share), wording.percent(m.accuracy),
         wording.signed(m.to_base))
        for m in snapshot.front[-FRONT_ROWS:]
    ]  # fmt: skip
    return table(heads, rows)


def _stages(snapshot: Snapshot) -> Markup:
    heads = ("Stage", "Done", "Of", "Failed", "Device time")
    rows = [
        (
            stage.name,
            f"{stage.done:,}",
            wording.UNKNOWN if stage.expected is None else f"{max(stage.expected, stage.done):,}",
            f"{stage.failed:,}",
            seconds(stage.seconds),
        )
        for stage in snapshot.stages
    ]
    return table(heads, rows) if rows else tag("p", "None yet.")


def _workers(snapshot: Snapshot) -> Markup:
    if not snapshot.workers:
        return tag("p", "No worker has finished anything yet.")
    heads = ("Worker", "Done", "Failed", "Device time", "Last result")
    rows = [
        (
            wording.plain(worker.name),
            f"{worker.done:,}",
            f"{worker.failed:,}",
            wording.duration(worker.seconds),
            f"{wording.duration(max(snapshot.taken - worker.last, 0.0))} ago",
        )
        for worker in snapshot.workers[:WORKER_ROWS]
    ]
    more = len(snapshot.workers) - WORKER_ROWS
    note = tag("p", f"And {more:,} more, whose last results are older.", class_="quiet") if more > 0 else None
    return join(table(heads, rows), note)


def _cost(snapshot: Snapshot) -> Markup:
    spent, total = snapshot.spent, snapshot.spent.total
    parts = (("base", spent.base, "ink"), ("probes", spent.probes, "faint"), ("trainings", spent.trainings, "test"))
    shares = (*parts, ("controls", spent.controls, "control"))
    bars = [
        tag("i", "", style=f"flex:{amount / total:.4f};background:var(--{colour})")
        for _, amount, colour in shares
        if amount > 0
    ]
    rows = [
        (
            PURPOSES[purpose].capitalize(),
            seconds(amount),
            wording.percent(amount / total, 0) if total > 0 else wording.UNKNOWN,
        )
        for purpose, amount, _ in shares
    ]
    return join(
        tag("p", f"Device time, over all workers: {seconds(total)}."),
        tag("div", *bars, class_="spent", aria_hidden="true") if bars else None,
        table(("Purpose", "Device time", "Share"), rows),
    )


def _bar(share: float) -> Markup:
    return tag("span", tag("i", "", style=f"width:{100 * min(share, 1):.1f}%"), class_="bar", aria_hidden="true")


def _bottom(snapshot: Snapshot, again: bool) -> Markup:
    live = " This page reads it again by itself." if again else ""
    return tag("footer", f"Read from {snapshot.path}.{live}")
