"""What the chosen network looks like: channels kept in every group."""

from __future__ import annotations

from search.report import wording
from search.report.markup import Markup, tag
from search.report.measurements import Finals, LayerWidth


def network(finals: Finals) -> Markup:
    """The section: one bar per group."""
    title = tag("h2", "What the chosen network looks like")
    chosen = finals.chosen_network
    if chosen is None:
        return tag("section", title, tag("p", "No network was chosen."), id="network")
    grown = sum(chosen.growth)
    grew = f"It grew by {wording.plural(grown, 'module')} (per stage: {', '.join(map(str, chosen.growth))})"
    full, kept = sum(w.full for w in chosen.widths), sum(w.kept for w in chosen.widths)
    groups = wording.plural(len(chosen.widths), "group")
    pruned = f"keeps {wording.count(kept)} of {wording.count(full)} channels in {groups}"
    intro = f"{grew} and {pruned}." if grown else f"It {pruned}; nothing was grown."
    if not chosen.widths:
        intro = f"{grew}; its widths were not recorded." if grown else "Its widths were not recorded."
    widest = max((w.full for w in chosen.widths), default=1)
    bars = tag("ul", *[_bar(w, widest) for w in chosen.widths], class_="widths") if chosen.widths else None
    return tag("section", title, tag("p", intro), bars, id="network")


def _bar(width: LayerWidth, widest: int) -> Markup:
    share = width.kept / width.full if width.full else 0.0
    label = tag("div", tag("span", width.group), tag("span", f"{width.kept:,} of {width.full:,}"))
    fill = tag("i", "", style=f"width:{100 * min(max(share, 0), 1):.1f}%")
    return tag(
        "li",
        label,
        tag("span", fill, class_="bar", style=f"width:{100 * width.full / max(widest, 1):.1f}%", aria_hidden="true"),
    )
