"""The report in sentences and cells, the same for terminal and page."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from search.criteria.report import CriteriaReport, Pair
from search.criteria.tree import ALIKE
from search.report import wording

LOOKS = {"weights": "weights alone", "data": "data", "nothing": "nothing"}
"""What a criterion looks at, in words."""
CRITERIA_HEADS = ("criterion", "looks at", "nearest", "ρ", "mean ρ", "mean κ", "left out")
GROUP_HEADS = ("group", "channels", "mean ρ", "mean κ", "most alike", "least alike", "left out")


def title(report: CriteriaReport) -> str:
    """The answer in one line."""
    pairs = report.pairs(report.spearman)
    if not pairs:
        return "No two criteria tell the channels of any group apart"
    text = f"Criteria agree by {_figure(report.mean(report.spearman))}"
    apart = report.telling(pairs)
    return f"{text}: {_named(apart[0])} most, {_named(apart[-1])} least" if len(apart) > 1 else text


def data_line(report: CriteriaReport) -> str:
    """What was looked at."""
    m = report.measured
    origin = f"trained for {wording.plural(m.epochs, 'epoch')}"
    if m.weights is not None:
        origin = f"with the weights in {wording.plain(Path(m.weights).name)}"
    return (
        f"base network {wording.plain(m.network)} on {wording.plain(m.source)}, {origin}: "
        f"{wording.percent(m.accuracy)} of the validation images; {wording.plural(len(report.groups), 'group')}; "
        f"criteria of data see {m.scoring:,} of {m.training:,} training images; seed {m.seed}"
    )


def method_line(report: CriteriaReport) -> str:
    """How agreement is measured."""
    return (
        "rank correlation ρ: Spearman's, of two criteria's scores of a group's channels; agreement κ of pruned sets: "
        "intersection over union of the channels that each would prune where "
        f"{wording.percent(report.measured.width, 0)} stay, corrected for chance: 1 for the same set, 0 for random "
        "ones; means over groups, each counted once"
    )


def blocks_line(report: CriteriaReport) -> str:
    """Which criteria stand together."""
    blocks = report.blocks()
    if not blocks:
        return f"no criteria form a block (ρ of {ALIKE} and more)"
    parts = "; ".join(wording.listed([wording.plain(name) for name in names], len(names)) for names in blocks)
    twins = [_named(pair) for pair in report.pairs(report.spearman) if pair in report.twins]
    same = f"; all but the same: {wording.listed(twins, len(twins))}" if twins else ""
    return f"{wording.plural(len(blocks), 'block')} (ρ of {ALIKE} and more): {parts}{same}"


def kinds_line(report: CriteriaReport) -> str:
    """Whether what a criterion looks at decides what it says."""
    kinds = (
        ("weights", "weights", "criteria of weights alone among themselves"),
        ("data", "data", "criteria of data among themselves"),
        ("weights", "data", "one with the other"),
        ("nothing", "weights", "random with weights"),
        ("nothing", "data", "random with data"),
    )
    values = [(text, report.mean_between(report.spearman, a, b)) for a, b, text in kinds]
    return "mean ρ: " + ", ".join(f"{text} {_figure(value)}" for text, value in values if math.isfinite(value))


def left_out_line(report: CriteriaReport) -> str:
    """Which criteria were left out where."""
    silent = report.left_out()
    if not silent:
        return "every criterion tells the channels of every group apart"
    parts = [f"{wording.plain(name)} ({len(groups)} of {len(report.groups)})" for name, groups in silent.items()]
    return f"left out of groups whose channels they do not tell apart: {wording.listed(parts, len(parts))}"


def criteria_rows(report: CriteriaReport) -> list[tuple[str, ...]]:
    """One row a criterion, in the tree's order; see :data:`CRITERIA_HEADS`."""
    rho, kappa = report.with_others(report.spearman), report.with_others(report.jaccard)
    silent = report.left_out()
    rows: list[tuple[str, ...]] = []
    for i in report.tree.order:
        name = report.criteria[i]
        nearest = _nearest(report, i)
        out = f"{len(silent[name])} of {len(report.groups)}" if name in silent else ""
        other = ("", "") if nearest is None else (wording.plain(nearest.second), _figure(nearest.agreement))
        rows.append((wording.plain(name), LOOKS[report.looks[i]], *other, _figure(rho[i]), _figure(kappa[i]), out))
    return rows


def group_rows(report: CriteriaReport) -> list[tuple[str, ...]]:
    """One row a group, from input to output; see :data:`GROUP_HEADS`."""
    rows: list[tuple[str, ...]] = []
    for g in report.groups:
        pairs = report.telling(report.pairs(g.spearman))
        ends = (_told(pairs[0]), _told(pairs[-1])) if pairs else (wording.UNKNOWN, wording.UNKNOWN)
        figures = (_figure(report.mean(g.spearman)), _figure(report.mean(g.jaccard)))
        silent = wording.listed([wording.plain(name) for name in g.left_out])
        rows.append((wording.plain(g.name), f"{g.size:,}", *figures, *ends, silent))
    return rows


def _nearest(report: CriteriaReport, row: int) -> Pair | None:
    others = [j for j in report.judged if j != row and math.isfinite(report.spearman[row, j])]
    if not others:
        return None
    best = others[int(np.argmax(report.spearman[row, others]))]
    return Pair(report.criteria[row], report.criteria[best], float(report.spearman[row, best]))


def _told(pair: Pair) -> str:
    return f"{_named(pair)} {_figure(pair.agreement)}"


def _named(pair: Pair) -> str:
    return f"{wording.plain(pair.first)} and {wording.plain(pair.second)}"


def _figure(value: float) -> str:
    return wording.signed(value, 2).lstrip("+")
