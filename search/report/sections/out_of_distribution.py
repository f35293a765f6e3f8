"""How surely the likelihood of ``loss: l_gm`` tells images of another kind, beside the plain largest softmax."""

from __future__ import annotations

from search.report import wording
from search.report.markup import Markup, tag
from search.report.measurements import Finals, Measured

_HEADS = ("Network", "Images of another kind", "Likelihood", "Largest softmax")


def out_of_distribution(finals: Finals) -> Markup | None:
    """The section; None where no network was trained with such a loss."""
    networks = [m for m in (finals.base, *finals.front) if m.detection]
    if not networks:
        return None
    about = (
        "AUROC: how probably a test image scores above one of another kind. 50% tells nothing, 100% tells all. Noise "
        "and permuted pixels are easy to tell: measure with images of your own before you rely on it."
    )
    head = tag("tr", *[tag("th", h, scope="col", class_=None if i > 1 else "t") for i, h in enumerate(_HEADS)])
    rows = [row for network in networks for row in _rows(network, network.candidate == finals.chosen)]
    table = tag("table", tag("caption", about), tag("thead", head), tag("tbody", *rows), class_="cards")
    title = tag("h2", "Does it know what it has not learnt?")
    return tag("section", title, table, id="out-of-distribution")


def _rows(network: Measured, chosen: bool) -> list[Markup]:
    name = f"★ {network.candidate}" if chosen else network.candidate
    return [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", kind, data_label=_HEADS[1], class_="t"),
            tag("td", wording.percent(found.likelihood), data_label=_HEADS[2]),
            tag("td", wording.percent(found.softmax), data_label=_HEADS[3]),
        )
        for kind, found in network.detection.items()
    ]
