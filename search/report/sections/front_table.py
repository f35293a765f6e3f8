"""Every network of the front in one table, below the base network."""

from __future__ import annotations

import math

from search.report import wording
from search.report.markup import Markup, tag
from search.report.measurements import Finals, Latency, Measured


def front_table(finals: Finals) -> Markup:
    """The table, cheapest network first."""
    heads = ("Network", "Parameters", "MACs", "File, bytes", "Validation", "Test", "Latency", "Sameness")
    ordered = sorted(finals.front, key=lambda m: m.cost(finals.cost))
    rows = [_row(m, finals, heads) for m in [finals.base, *ordered]]
    about = (
        "Small print: share of the base network; points against it; 95% interval of the latency and its ratio to the "
        "base network’s; top-1 agreement. Sameness is the largest output difference between masked, compact, "
        "reloaded and exported forms."
    )
    head = tag("tr", *[tag("th", h, scope="col") for h in heads])
    return tag("table", tag("caption", about), tag("thead", head), tag("tbody", *rows), class_="cards")


def _row(m: Measured, finals: Finals, heads: tuple[str, ...]) -> Markup:
    is_base = m is finals.base
    is_chosen = m.candidate == finals.chosen
    origin = "base network" if is_base else m.origin + (" · chosen" if is_chosen else "")
    over = m.excess(finals.budget)
    cells: list[tuple[str, str]] = []
    for measure in ("params", "macs", "bytes"):
        note = "" if is_base else wording.share(finals.share(m, measure))
        cells.append(
            (wording.count(m.cost(measure)), note + (" · over budget" if measure in over and not is_base else ""))
        )
    cells.append(
        (wording.percent(m.validation_accuracy), _gap(m.validation_accuracy, finals.base.validation_accuracy, is_base))
    )
    cells.append((wording.percent(m.test_accuracy), _gap(m.test_accuracy, finals.base.test_accuracy, is_base)))
    cells.append(_latency(m.latency, is_base))
    worst = m.worst
    agreement = f"{wording.percent(worst.agreement)} agree" if math.isfinite(worst.agreement) else ""
    cells.append((wording.scientific(worst.difference), agreement))
    name = tag("th", tag("code", m.candidate), tag("small", origin), scope="row")
    return tag(
        "tr",
        name,
        *[
            tag(
                "td",
                value,
                tag("small", note) if note else None,
                data_label=label,
                class_="wide" if label == "Latency" else None,
            )
            for (value, note), label in zip(cells, heads[1:], strict=True)
        ],
        class_="chosen" if is_chosen else None,
    )


def _gap(accuracy: float, base: float, is_base: bool) -> str:
    return "" if is_base or not math.isfinite(accuracy - base) else f"{wording.signed(100 * (accuracy - base))} points"


def _latency(latency: Latency | None, is_base: bool) -> tuple[str, str]:
    if latency is None:
        return wording.UNKNOWN, ""
    time, interval = wording.milliseconds(latency.median_ms), _unbroken(latency.low_ms, latency.high_ms)
    if is_base:
        return time, interval
    ratio, around = wording.ratio(latency.ratio_to_base), _unbroken(latency.ratio_low, latency.ratio_high)
    return f"{time} · {ratio}", f"{interval} · {around}"


def _unbroken(low: float, high: float) -> str:
    """An interval that is never broken over two lines."""
    return wording.bracket(low, high, 2).replace(" ", "\u00a0")
