"""The report in one sentence: what the chosen network is, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from search.report import wording
from search.report.measurements import Finals, Measured, mean
from search.report.verdict import tally
from workers.evaluation import OK, TRAIN, is_control


@dataclass(frozen=True)
class Headline:
    """``title`` says it; ``details`` are sentences that say on what grounds, caveats included."""

    title: str
    details: tuple[str, ...]


def write_headline(table: pa.Table, finals: Finals) -> Headline:
    """Compute the headline from the measurements; nothing in it is asserted."""
    chosen = finals.chosen_network
    if chosen is None:
        return Headline("No network was chosen", (_why_none(table, finals),))
    title = f"{_size(finals, chosen)} {_accuracy(finals, chosen)}"
    details = []
    excess = chosen.excess(finals.budget)
    if excess:
        title = f"Over budget: {title}"
        over = ", ".join(
            f"{wording.count(chosen.cost(m))} {wording.SHORT_MEASURES[m]} where {wording.count(finals.budget[m])} were "
            f"allowed ({wording.signed(100 * (ratio - 1))}%)"
            for m, ratio in excess.items()
        )
        details.append(f"The chosen network misses its budget: {over}.")
    details += [d for d in (_grounds(finals, chosen), _repeats(finals), _verdicts(finals)) if d]
    return Headline(title, tuple(details))


def _size(finals: Finals, chosen: Measured) -> str:
    return f"{wording.share(finals.share(chosen))} of the {wording.SHORT_MEASURES[finals.cost]}"


def _accuracy(finals: Finals, chosen: Measured) -> str:
    points = 100 * (chosen.test_accuracy - finals.base.test_accuracy)
    if not math.isfinite(points):
        return "(test accuracy was not measured)"
    if abs(points) < 0.05:
        return "at the same test accuracy"
    return f"at {wording.signed(points)} points test accuracy"


def _grounds(finals: Finals, chosen: Measured) -> str:
    """The accuracies behind the headline, and how fine the test split can tell."""
    images = finals.data.test
    both = (
        f"{wording.percent(chosen.test_accuracy)} of {wording.count(images)} held-out images are classified "
        f"correctly, against {wording.percent(finals.base.test_accuracy)} by the base network"
    )
    if images <= 0 or not math.isfinite(chosen.test_accuracy):
        return ""
    one = 100 / images
    return f"{both}; one image is {one:.2g} points." if one >= 0.005 else f"{both}."


def _repeats(finals: Finals) -> str:
    finished = [a for a in finals.chosen_test if math.isfinite(a)]
    if len(finished) < 2:
        return ""
    spread = f"{wording.percent(min(finished))} to {wording.percent(max(finished))}"
    return (
        f"Trained again with {len(finished)} seeds, it reaches {wording.percent(mean(finals.chosen_test))} "
        f"on average ({spread})."
    )


def _verdicts(finals: Finals) -> str:
    return f"Against plain alternatives, the search {tally(finals.verdicts)}." if finals.verdicts else ""


def _why_none(table: pa.Table, finals: Finals) -> str:
    """The first reason that the archive shows."""
    columns = table.select(["stage", "origin", "status", "violation"])
    rows = [r for r in columns.to_pylist() if not is_control(r["origin"])]
    if not rows:
        return "The archive holds no evaluation of the search."
    trained = [r for r in rows if r["stage"] == TRAIN]
    if not trained:
        failed = sum(r["status"] != OK for r in rows)
        return f"No candidate was trained: {wording.plural(len(rows), 'probe')}, of which {failed:,} failed."
    done = [r for r in trained if r["status"] == OK]
    if not done:
        return f"All of {wording.plural(len(trained), 'training')} failed; the reasons are below."
    if all(r["violation"] is None or r["violation"] > 0 for r in done):
        limits = ", ".join(f"{wording.count(v)} {wording.SHORT_MEASURES[m]}" for m, v in finals.budget.items())
        return f"None of {wording.plural(len(done), 'trained candidate')} met the budget ({limits})."
    if finals.front:
        return f"The front has {wording.plural(len(finals.front), 'network')}, and none met the demands of the export."
    return f"Of {wording.plural(len(done), 'trained candidate')} none reached the front."
