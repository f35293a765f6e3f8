"""What the run cost."""

from __future__ import annotations

import math

from search.report import wording
from search.report.markup import Markup, tag
from search.report.measurements import Finals


def cost(finals: Finals) -> Markup:
    """The section: device time by purpose, and what it bought."""
    ledger = finals.ledger
    shares = (
        ("Base network", ledger.base_seconds, "ink", ""),
        ("Probes", ledger.probe_seconds, "faint", f"{ledger.probes:,} evaluations"),
        ("Trainings", ledger.training_seconds, "test", f"{ledger.trainings:,} evaluations"),
        ("Controls", ledger.control_seconds, "control", f"{len(finals.controls):,} alternatives"),
    )
    total = ledger.device_seconds
    parts = [
        tag("i", "", style=f"flex:{seconds / total:.4f};background:var(--{colour})")
        for _, seconds, colour, _ in shares
        if total > 0 and seconds > 0
    ]
    rows = [
        tag(
            "tr",
            tag(
                "th",
                tag("span", "■ ", style=f"color:var(--{colour})", aria_hidden="true"),
                name,
                _note(note),
                scope="row",
            ),
            tag("td", wording.duration(seconds)),
            tag("td", wording.percent(seconds / total, 0) if total > 0 else wording.UNKNOWN),
        )
        for name, seconds, colour, note in shares
    ]
    lead = f"{wording.duration(total)} of device time in {wording.duration(ledger.wall_seconds)} by the clock."
    if math.isfinite(ledger.gain_per_hour):
        lead += f" Accuracy gained per device-hour: {wording.signed(100 * ledger.gain_per_hour)} points."
    if ledger.saved_seconds > 0:
        lead += f" By estimate, the surrogate saved {wording.duration(ledger.saved_seconds)} of probing."
    return tag(
        "section",
        tag("h2", "What it cost"),
        tag("p", lead),
        tag("div", *parts, class_="spent", aria_hidden="true") if parts else None,
        tag("table", tag("tbody", *rows)),
        id="cost",
    )


def _note(text: str) -> Markup | None:
    return tag("small", text) if text else None
