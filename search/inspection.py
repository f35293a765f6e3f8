"""What is known before a search begins: groups, locked layers, reachable budgets, and what the search should cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from search.forecast import Forecast
from search.preflight import Preflight
from search.report import wording
from spaces.budget import Budget

MEASURES = ("params", "macs", "bytes")


@dataclass(frozen=True)
class Inspection:
    """The answer of `niwaki inspect`."""

    preflight: Preflight
    forecast: Forecast

    def lines(self) -> list[str]:
        """The same in a few sentences, for the start of a search."""
        p = self.preflight
        return [_data_line(p), _network_line(p), *_locked_lines(p), _budget_line(p), _cost_line(self.forecast)]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        p, f = self.preflight, self.forecast
        splits = p.splits
        return {
            "data": {
                "source": p.config.data.source,
                "train": len(splits.train),
                "validation": len(splits.validation),
                "test": len(splits.test),
                "shape": list(splits.train.shape),
                "classes": list(splits.train.class_names),
            },
            "network": p.spec.name,
            "groups": [
                {"name": g.name, "channels": g.size, "layers": [m.layer for m in g.members]} for g in p.layout.groups
            ],
            "locked": [{"layer": x.name, "reason": x.reason} for x in p.layout.locked],
            "growths": [list(g) for g in sorted(p.space.layouts)],
            "cost": {m: {"base": getattr(p.base, m), "least": getattr(p.least, m)} for m in MEASURES},
            "budget": p.space.budget.limits(),
            "seconds": {"base": f.base, "each": dict(f.each), "total": f.total},
            "evaluations": dict(f.counts),
        }

    def groups_table(self) -> Table:
        """One line a group."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("group")
        table.add_column("channels", justify="right")
        table.add_column("layers that lose channels with it")
        for group in self.preflight.layout.groups:
            names = dict.fromkeys(m.layer for m in group.members)
            table.add_row(group.name, str(group.size), wording.listed([n for n in names if n != group.name], 4))
        return table

    def budget_table(self) -> Table:
        """Base network, the least reachable, and what is asked."""
        p = self.preflight
        limits = p.space.budget.limits()
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("cost", "base", "least", "least share", "budget"):
            table.add_column(name, justify="left" if name == "cost" else "right")
        for m in MEASURES:
            base, least = getattr(p.base, m), getattr(p.least, m)
            asked = wording.count(limits[m]) if m in limits else "–"
            share = wording.share(least / base)
            table.add_row(wording.MEASURES[m], wording.count(base), wording.count(least), share, asked)
        return table


def _data_line(p: Preflight) -> str:
    s = p.splits
    channels, height, width = s.train.shape
    return (
        f"data {p.config.data.source}: {len(s.train):,} training, {len(s.validation):,} validation and "
        f"{len(s.test):,} test images of {channels}×{height}×{width} in {s.train.classes} classes; "
        f"probes use {p.probe_images:,} of the training images"
    )


def _network_line(p: Preflight) -> str:
    grown = len(p.space.layouts) - 1
    return (
        f"network {p.spec.name}: {p.base.params:,} parameters, {wording.compact(p.base.macs)} MACs, "
        f"{wording.plural(len(p.layout.groups), 'group')} of channels, {wording.plural(grown, 'growth')}"
    )


def _locked_lines(p: Preflight) -> list[str]:
    return [f"kept whole: {x.name} ({x.reason})" for x in p.layout.locked]


def _budget_line(p: Preflight) -> str:
    limits = p.space.budget.limits()
    if not limits:
        return "budget: none; the whole front is searched"
    return "budget: " + ", ".join(_limit(p.space.budget, p, m) for m in limits)


def _limit(budget: Budget, p: Preflight, measure: str) -> str:
    limit, base, least = budget.limits()[measure], getattr(p.base, measure), getattr(p.least, measure)
    return (
        f"at most {limit:,} {wording.SHORT_MEASURES[measure]} ({wording.share(limit / base)} of the base network; "
        f"the least reachable is {least:,})"
    )


def _cost_line(f: Forecast) -> str:
    return f"forecast: {sum(f.counts.values()):,} evaluations, about {wording.duration(f.total)} of device time in all"
