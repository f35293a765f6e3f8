"""How well the probe foretold the training."""

from __future__ import annotations

import math
from typing import Any

from search.report import wording
from search.report.foretelling import Foretelling
from search.report.interactive import embed, new_figure
from search.report.markup import Markup, tag, text
from search.report.palette import LIGHT


def probing(foretelling: Foretelling) -> Markup:
    """The section: a scatter of both accuracies and their rank correlation."""
    title = tag("h2", "How well the probe foretold training")
    number = len(foretelling.pairs)
    if number == 0:
        return tag("section", title, tag("p", "No candidate was both probed and trained."), id="probe")
    figure = embed(
        _figure(foretelling),
        f"Scatter plot of probed against trained validation accuracy of {number} candidates.",
        "Validation accuracy of the same candidates before and after training. Trained candidates were "
        "picked for their promise, and so narrow a choice lowers a rank correlation.",
        {"height": 340},
    )
    return tag("section", title, tag("p", describe(foretelling)), figure, id="probe")


def describe(foretelling: Foretelling) -> str:
    """Kendall's tau with its number of pairs, or why there is none."""
    number = len(foretelling.pairs)
    if not math.isfinite(foretelling.tau):
        return (
            f"{wording.plural(number, 'candidate')} probed and trained: too few, or too alike, for a rank correlation."
        )
    line = f"Kendall’s τ = {foretelling.tau:.2f} (n = {number})"
    if foretelling.refitted and math.isfinite(foretelling.tau_probed):
        return f"{line} with a refitted classifier; {foretelling.tau_probed:.2f} without."
    return f"{line}."


def _figure(foretelling: Foretelling) -> Any:
    what = "refitted probe" if foretelling.refitted else "probe"
    figure = new_figure(f"{what}: validation accuracy in %", "trained: validation accuracy in %", 400)
    before = [100 * (p.refitted if foretelling.refitted else p.probed) for p in foretelling.pairs]
    figure.add_scatter(
        x=before,
        y=[100 * p.trained for p in foretelling.pairs],
        mode="markers",
        marker={"size": 9, "color": LIGHT["test"], "opacity": 0.8},
        hovertext=[text(p.candidate) for p in foretelling.pairs],
        hovertemplate="<b>%{hovertext}</b><br>probe %{x:.1f}%<br>trained %{y:.1f}%<extra></extra>",
    )
    figure.update_xaxes(nticks=7)
    return figure
