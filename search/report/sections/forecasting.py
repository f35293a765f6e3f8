"""How true the surrogate's forecasts came, whether they beat the probe, and what they saved."""

from __future__ import annotations

import math
from typing import Any

from search.report import wording
from search.report.axis import error
from search.report.correlation import Estimate
from search.report.forecasts import NOT_FOLLOWED, Forecasts, Foretold, forecast_axis, why_none
from search.report.interactive import embed, legend, log_axis, new_figure
from search.report.markup import Markup, tag, text
from search.report.measurements import Finals
from search.report.palette import LIGHT


def forecasting(forecasts: Forecasts, finals: Finals) -> Markup:
    """The section: figures, and foretold against trained accuracy; one sentence where nothing was foretold."""
    title = tag("h2", "How true the forecasts came")
    if not forecasts.pairs:
        return tag("section", title, tag("p", why_none(finals)), _steering(finals), id="forecasts")
    number = len(forecasts.pairs)
    figure = embed(
        _figure(forecasts, finals),
        f"Scatter plot of foretold against trained validation accuracy of {number} candidates, with intervals.",
        "Each forecast was made before its training. Bars are 90% intervals; one that reaches the dashed line held. "
        "Equal steps divide the errors by equal factors.",
        {"height": 380},
        legend([("●", "test", "interval held"), ("◆", "chosen", "interval missed"), ("┄", "quiet", "as foretold")]),
    )
    return tag(
        "section",
        title,
        tag("p", compare(forecasts)),
        _steering(finals),
        _saved(finals),
        tag("div", figure, _facts(forecasts), class_="pair"),
        id="forecasts",
    )


def compare(forecasts: Forecasts) -> str:
    """Whether forecasts ranked the trained candidates better than their probes did."""
    number, ranking = len(forecasts.pairs), forecasts.ranking
    if not math.isfinite(ranking.tau.value):
        return (
            f"{wording.plural(number, 'candidate')} foretold and trained: too few, or too alike, for a rank "
            "correlation."
        )
    lead = ranking.lead
    if not math.isfinite(lead.value):
        return "Forecasts cannot be compared with probes: those do not rank the trained candidates at all."
    by = f"difference in Kendall’s τ {wording.signed(lead.value, 2)}, {_interval(lead)}, n = {number}"
    if lead.bounded and lead.low > 0:
        return f"Forecasts ranked the trained candidates better than their probes did ({by})."
    if lead.bounded and lead.high < 0:
        return f"Forecasts ranked the trained candidates WORSE than their probes did ({by})."
    return f"Whether forecasts or probes ranked the trained candidates better could not be told ({by})."


def _steering(finals: Finals) -> Markup | None:
    if finals.screening is None or finals.screening.trusted:
        return None
    return tag("p", f"{NOT_FOLLOWED[0].upper()}{NOT_FOLLOWED[1:]}.", class_="alert")


def _saved(finals: Finals) -> Markup | None:
    screening, saved = finals.screening, finals.ledger.saved_seconds
    if screening is None or not saved > 0:
        return None
    return tag(
        "p",
        f"By estimate, {wording.count(screening.passed_over)} genomes were looked at and passed over without a probe. "
        f"To probe them too would have taken {wording.duration(saved)} of device time, at what a probe took on "
        "average.",
    )


def _facts(forecasts: Forecasts) -> Markup:
    ranking, held = forecasts.ranking, forecasts.held
    probe = "refitted probe" if forecasts.refitted else "probe"
    right = sum(p.held for p in forecasts.pairs)
    facts = []
    for name, own, rival in (
        ("Kendall’s τ", ranking.tau, ranking.tau_rival),
        ("Spearman’s ρ", ranking.rho, ranking.rho_rival),
    ):
        if math.isfinite(own.value):
            beside = f"{probe} {_value(rival)} {_interval(rival)}" if math.isfinite(rival.value) else None
            facts.append((name, _value(own), _interval(own), beside))
    facts.append(("Off by, on average", f"{forecasts.error:.2g} points", "of validation accuracy", None))
    coverage = f"{wording.percent(held.value, 0)} {wording.bracket(100 * held.low, 100 * held.high, 0)}"
    facts.append(("90% intervals that held", f"{right} of {len(forecasts.pairs)}", coverage, None))
    entries = [
        tag("div", tag("dt", n), tag("dd", v, *[tag("small", s) for s in (below, beside) if s]))
        for n, v, below, beside in facts
    ]
    return tag("dl", *entries, class_="facts")


def _value(estimate: Estimate) -> str:
    return f"{estimate.value:.2f}".replace("-", "−")


def _interval(estimate: Estimate) -> str:
    return wording.bracket(estimate.low, estimate.high, 2) if estimate.bounded else "no interval"


def _figure(forecasts: Forecasts, finals: Finals) -> Any:
    axis, floor = forecast_axis(forecasts, finals)
    figure = new_figure("foretold: validation accuracy in %", "trained: validation accuracy in %", 460)
    figure.update_xaxes(**log_axis(axis, reverse=True))
    figure.update_yaxes(**log_axis(axis, reverse=True))
    ends = [axis.low, axis.high]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": LIGHT["quiet"], "width": 1.2, "dash": "dash"}, hoverinfo="skip"
    )
    for held, symbol, colour in ((True, "circle", "test"), (False, "diamond", "chosen")):
        pairs = [p for p in forecasts.pairs if p.held is held]
        x = [error(p.forecast, floor) for p in pairs]
        figure.add_scatter(
            x=x,
            y=[error(p.trained, floor) for p in pairs],
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": LIGHT[colour]},
            error_x={
                "type": "data", "symmetric": False, "color": LIGHT["validation"], "thickness": 1.1, "width": 0,
                "array": [error(p.low, floor) - e for p, e in zip(pairs, x, strict=True)],
                "arrayminus": [e - error(p.high, floor) for p, e in zip(pairs, x, strict=True)],
            },
            hovertext=[_hover(p) for p in pairs],
            hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    return figure


def _hover(pair: Foretold) -> str:
    interval = f"{wording.percent(pair.low)} to {wording.percent(pair.high)}"
    return (
        f"<b>{text(pair.candidate)}</b><br>foretold {wording.percent(pair.forecast)} ({interval})"
        f"<br>trained {wording.percent(pair.trained)}"
    )
