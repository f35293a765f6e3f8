"""How numbers are said to people: counts, shares, percentages, points, durations."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

UNKNOWN = "–"
"""Stands for what was not measured."""

MEASURES = {
    "params": "parameters",
    "macs": "multiply-accumulates per image",
    "bytes": "bytes of the exported file",
}
"""Cost measures in words, with their unit."""

SHORT_MEASURES = {"params": "parameters", "macs": "MACs", "bytes": "bytes"}
"""Cost measures where there is little room."""


def plain(text: str) -> str:
    """``text`` on one line without control characters, so that a message cannot steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def count(number: float) -> str:
    """A whole number with thousands separators: 9,842."""
    return f"{round(number):,}" if math.isfinite(number) else UNKNOWN


def compact(number: float) -> str:
    """Three significant digits and an SI prefix: 9.84k, 1.2M."""
    if not math.isfinite(number):
        return UNKNOWN
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{prefix}"
    return f"{number:.3g}"


def percent(fraction: float, decimals: int = 1) -> str:
    """A fraction as a percentage; a fraction below 1 is never rounded up to 100%."""
    if not math.isfinite(fraction):
        return UNKNOWN
    while fraction < 1 and decimals < 6 and float(f"{100 * fraction:.{decimals}f}") >= 100:
        decimals += 1
    return f"{100 * fraction:.{decimals}f}%"


def signed(number: float, decimals: int = 1) -> str:
    """A number with its sign, by a true minus; no sign where it rounds to zero."""
    if not math.isfinite(number):
        return UNKNOWN
    text = f"{abs(number):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("+" if number > 0 else "−") + text


def bracket(low: float, high: float, decimals: int = 1) -> str:
    """An interval: [−0.2, 1.4]."""
    ends = (f"{x:.{decimals}f}".replace("-", "−") if math.isfinite(x) else UNKNOWN for x in (low, high))
    return "[{}, {}]".format(*(e.replace("−", "") if set(e) <= set("−0.") else e for e in ends))


def share(ratio: float) -> str:
    """A share of the base network: 1/17 where it is small, a percentage where it is not."""
    if not math.isfinite(ratio) or ratio < 0:
        return UNKNOWN
    if 0 < ratio <= 0.4:
        return f"1/{round(1 / ratio):,}"
    return percent(ratio, 0 if ratio < 0.995 or ratio >= 1.005 or ratio == 1 else 1)


def duration(seconds: float) -> str:
    """Seconds in the two largest fitting units: 1 h 12 min."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours / 24:.1f} days"


def milliseconds(value: float) -> str:
    """A latency to three significant digits."""
    return f"{value:#.3g}".rstrip(".") + " ms" if math.isfinite(value) else UNKNOWN


def scientific(value: float) -> str:
    """A difference between outputs: 0, or one digit and its power."""
    if not math.isfinite(value):
        return UNKNOWN
    return "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "−")


def plural(number: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``, ``3 classes``."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def ratio(value: float) -> str:
    """A ratio of times: 0.42×."""
    return f"{value:.2f}×" if math.isfinite(value) else UNKNOWN


def listed(names: Sequence[str], most: int = 12) -> str:
    """``a, b and c``; of more than ``most`` names the rest is counted."""
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most:,} more"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def browsing(store: str, mlflow: str = "mlflow") -> str:
    """Where the runs of the MLflow store at this URI are looked at: a server's own page, or that of a command."""
    if store.startswith(("http:", "https:")):
        return store
    return f"{mlflow} ui --backend-store-uri {shlex.quote(store)}"
