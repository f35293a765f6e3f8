"""The headline: what came out, and on what grounds."""

from __future__ import annotations

from search.report import wording
from search.report.headline import Headline
from search.report.markup import Markup, join, tag
from search.report.measurements import Finals, Measured


def top(headline: Headline, finals: Finals) -> Markup:
    """The run's name, the headline, its grounds and the chosen network's figures beside the base network's."""
    chosen = finals.chosen_network
    warning = chosen is None or bool(chosen.excess(finals.budget))
    lead = [tag("p", d, class_="lead alert" if warning and i == 0 else "lead") for i, d in enumerate(headline.details)]
    run = join("Niwaki · run ", tag("b", finals.name), f" · {finals.data.source}")
    return tag(
        "header",
        tag("p", run, class_="run"),
        tag("h1", headline.title),
        *lead,
        None if chosen is None else _facts(finals, chosen),
    )


def _facts(finals: Finals, chosen: Measured) -> Markup:
    facts = [
        _fact(
            "Test accuracy",
            wording.percent(chosen.test_accuracy),
            f"base {wording.percent(finals.base.test_accuracy)}",
        )
    ]
    for measure, label, unit in (("params", "Parameters", ""), ("macs", "MACs per image", ""), ("bytes", "File", "B")):
        facts.append(
            _fact(
                label,
                _size(chosen.cost(measure), unit),
                f"{wording.share(finals.share(chosen, measure))} of {_size(finals.base.cost(measure), unit)}",
            )
        )
    if chosen.latency is not None:
        base = finals.base.latency
        beside = f"{wording.ratio(chosen.latency.ratio_to_base)} of the base network’s"
        if base is not None:
            beside = f"{wording.ratio(chosen.latency.ratio_to_base)} of {wording.milliseconds(base.median_ms)}"
        facts.append(
            _fact(
                f"Latency, batch of {chosen.latency.batch_size}", wording.milliseconds(chosen.latency.median_ms), beside
            )
        )
    return tag("dl", *facts, class_="facts")


def _size(amount: int, unit: str) -> str:
    text = wording.compact(amount)
    if not unit:
        return text
    return f"{text[:-1]} {text[-1]}{unit}" if text[-1].isalpha() else f"{text} {unit}"


def _fact(name: str, value: str, beside: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value, tag("small", beside)))
