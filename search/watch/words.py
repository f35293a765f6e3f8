"""What a snapshot says in words and as JSON; the terminal and the page say the same."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from search.report import wording
from search.standing import CONCLUDING, FAILED, FINISHED, LOST, PREPARING, SEARCHING, STOPPED
from search.watch.snapshot import Snapshot

MEANINGS = {
    PREPARING: "preparing",
    SEARCHING: "searching",
    CONCLUDING: "concluding",
    FINISHED: "finished",
    STOPPED: "stopped",
    FAILED: "failed",
    LOST: "broken off",
}
"""Phases in words."""

PURPOSES = {"base": "base network", "probes": "probes", "trainings": "trainings", "controls": "controls"}


def title(snapshot: Snapshot) -> str:
    """Where the run stands, in a few words."""
    done = wording.plural(snapshot.done, "evaluation")
    if snapshot.expected is not None and snapshot.phase != FINISHED:
        done = f"{snapshot.done:,} of {wording.plural(snapshot.expected, 'evaluation')}"
    phase = MEANINGS[snapshot.phase].capitalize()
    text = f"{phase}: {done}" if snapshot.done else phase
    if math.isfinite(snapshot.left):
        text += f", about {wording.duration(snapshot.left)} to go"
    return text


def remarks(snapshot: Snapshot) -> list[str]:
    """What a watcher should know beside it: what goes on, since when, what went wrong, and what to do."""
    standing, lines = snapshot.standing, []
    if standing is not None:
        if standing.doing and not snapshot.ended:
            lines.append(f"Now: {standing.doing}.")
        verb = "ran" if snapshot.ended else "runs"
        age = wording.duration(max(snapshot.taken - standing.since, 0.0))
        lines.append(f"The driver {verb} on {standing.host}; it began {age} ago.")
    if math.isfinite(snapshot.last):
        lines.append(f"Last commit {wording.duration(max(snapshot.taken - snapshot.last, 0.0))} ago.")
    if snapshot.phase == FAILED and standing is not None:
        lines.append(f"It failed: {standing.error}")
    if snapshot.phase == LOST:
        lines.append("No process drives it, and none said why it ended: it was killed, or its machine went down.")
    if snapshot.phase in (FAILED, STOPPED, LOST):
        lines.append(f"`niwaki resume {snapshot.path}` goes on where it stands; nothing that was committed is lost.")
    if snapshot.phase == FINISHED:
        lines.append(f"The report: {snapshot.path / 'report' / 'report.html'}.")
    return [wording.plain(line) for line in lines]


def figures(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """The figures at a glance: name, value, and what stands beside it."""
    best = max(snapshot.front, key=lambda m: m.accuracy, default=None)
    unit = wording.SHORT_MEASURES[snapshot.config.search.cost]
    failed = wording.percent(snapshot.failed / snapshot.done) if snapshot.done else wording.UNKNOWN
    left = f"about {wording.duration(snapshot.left)} to go" if math.isfinite(snapshot.left) else "time to go not known"
    return [
        (
            "Evaluations",
            f"{snapshot.done:,}",
            _course(snapshot),
        ),
        ("Rate", rate(snapshot.rate), left if not snapshot.ended else "over the whole search"),
        (
            "Best validation",
            wording.UNKNOWN if best is None else wording.percent(best.accuracy),
            "nothing trained yet" if best is None else f"with {wording.compact(best.cost)} {unit}",
        ),
        (
            "Hypervolume",
            f"{snapshot.hypervolume:.3f}" if math.isfinite(snapshot.hypervolume) else wording.UNKNOWN,
            f"{wording.plural(len(snapshot.front), 'network')} on the front",
        ),
        ("Failed", f"{snapshot.failed:,}", failed),
        ("Device time", seconds(snapshot.spent.total), wording.plural(len(snapshot.workers), "worker")),
    ]


def rate(per_second: float) -> str:
    """Commits per second, minute or hour, whichever is legible."""
    if not math.isfinite(per_second):
        return wording.UNKNOWN
    for factor, unit in ((1.0, "s"), (60.0, "min")):
        if per_second * factor >= 0.95:
            return f"{per_second * factor:.3g}/{unit}"
    return f"{3600 * per_second:.3g}/h"


def seconds(amount: float) -> str:
    """A span of device time; none at all is not 0 ms."""
    return wording.duration(amount) if amount > 0 else "none"


def forecasts(snapshot: Snapshot) -> str:
    """How true forecasts came so far, in a sentence."""
    found = snapshot.forecasts
    if not found.pairs:
        return "No training had a forecast so far."
    held = sum(p.held for p in found.pairs)
    text = f"{held} of {wording.plural(len(found.pairs), 'interval')} (90%) held"
    if math.isfinite(found.error):
        text += f", off by {found.error:.2g} points on average"
    if snapshot.record:
        late = snapshot.record[-1]
        text += f"; of late, Kendall’s τ is {_tau(late.forecasts)}, that of the probes alone {_tau(late.probes)}"
    return f"{text}."


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """For programs: plain values, null where a number is not known."""
    standing = snapshot.standing
    answer = {
        "run": str(snapshot.path),
        "name": snapshot.config.name,
        "phase": snapshot.phase,
        "ended": snapshot.ended,
        "host": standing.host if standing else None,
        "since": standing.since if standing else None,
        "doing": standing.doing if standing and not snapshot.ended else "",
        "error": standing.error if standing and snapshot.phase == FAILED else "",
        "warnings": list(standing.warnings) if standing else [],
        "taken": snapshot.taken,
        "last_commit": snapshot.last,
        "evaluations": snapshot.done,
        "expected": snapshot.expected,
        "failed": snapshot.failed,
        "rate_per_second": snapshot.rate,
        "seconds_left": snapshot.left,
        "stages": [asdict(stage) for stage in snapshot.stages],
        "cost": snapshot.config.search.cost,
        "front": [asdict(member) for member in snapshot.front],
        "hypervolume": snapshot.hypervolume,
        "forecasts": {
            "count": len(snapshot.forecasts.pairs),
            "held": sum(p.held for p in snapshot.forecasts.pairs),
            "error_points": snapshot.forecasts.error,
            "record": [asdict(judged) for judged in snapshot.record],
        },
        "failures": [asdict(failure) for failure in snapshot.failures],
        "workers": [asdict(worker) for worker in snapshot.workers],
        "device_seconds": {**asdict(snapshot.spent), "total": snapshot.spent.total},
    }
    finite: dict[str, Any] = _finite(answer)
    return finite


def _course(snapshot: Snapshot) -> str:
    if snapshot.phase == FINISHED:
        return "in all"
    return "course not known yet" if snapshot.expected is None else f"of {snapshot.expected:,}"


def _tau(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "not known"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
