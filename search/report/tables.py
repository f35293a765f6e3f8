"""The front and the verdicts as tables: for the terminal (rich), and for programs (Arrow)."""

from __future__ import annotations

import math

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from search.report import wording
from search.report.correlation import Estimate
from search.report.forecasts import NOT_FOLLOWED, judge_forecasts
from search.report.measurements import Finals, Measured
from search.report.verdict import LABELS, Verdict

FRONT_SCHEMA = pa.schema(
    [
        ("candidate", pa.string()),
        ("origin", pa.string()),
        ("chosen", pa.bool_()),
        ("within_budget", pa.bool_()),
        ("growth", pa.list_(pa.int64())),
        ("params", pa.int64()),
        ("macs", pa.int64()),
        ("bytes", pa.int64()),
        ("share", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("latency_ms", pa.float64()),
        ("latency_low_ms", pa.float64()),
        ("latency_high_ms", pa.float64()),
        ("latency_ratio", pa.float64()),
        ("sameness_difference", pa.float64()),
        ("sameness_agreement", pa.float64()),
    ]
)
"""Columns of :func:`front_rows`; null is not measured, ``share`` is that of the run's cost in the base network's."""


def front_rows(finals: Finals) -> pa.Table:
    """The front, cheapest first, one row a network."""
    return pa.Table.from_pylist([_front_row(m, finals) for m in _ordered(finals)], schema=FRONT_SCHEMA)


def _ordered(finals: Finals) -> list[Measured]:
    return sorted(finals.front, key=lambda m: (m.cost(finals.cost), m.candidate))


def _front_row(m: Measured, finals: Finals) -> dict[str, object]:
    latency = m.latency
    numbers = {
        "share": finals.share(m),
        "validation_accuracy": m.validation_accuracy,
        "test_accuracy": m.test_accuracy,
        "latency_ms": latency.median_ms if latency else math.nan,
        "latency_low_ms": latency.low_ms if latency else math.nan,
        "latency_high_ms": latency.high_ms if latency else math.nan,
        "latency_ratio": latency.ratio_to_base if latency else math.nan,
        "sameness_difference": m.worst.difference,
        "sameness_agreement": m.worst.agreement,
    }
    return {
        "candidate": m.candidate,
        "origin": m.origin,
        "chosen": m.candidate == finals.chosen,
        "within_budget": not m.excess(finals.budget),
        "growth": list(m.growth),
        "params": m.params,
        "macs": m.macs,
        "bytes": m.bytes,
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
    }


def front_table(finals: Finals) -> Table:
    """The base network and the front, for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("network", overflow="fold")
    for name in ("params", "share", "MACs", "bytes", "validation", "test", "latency", "× base", "sameness"):
        table.add_column(name, justify="right")
    for m in [finals.base, *_ordered(finals)]:
        is_chosen = m is not finals.base and m.candidate == finals.chosen
        over = m is not finals.base and bool(m.excess(finals.budget))
        latency = m.latency
        cells = [
            "★" if is_chosen else "!" if over else "",
            wording.plain(m.candidate),
            wording.compact(m.params),
            wording.share(finals.share(m)),
            wording.compact(m.macs),
            wording.compact(m.bytes),
            wording.percent(m.validation_accuracy),
            wording.percent(m.test_accuracy),
            wording.milliseconds(latency.median_ms) if latency else wording.UNKNOWN,
            f"{latency.ratio_to_base:.2f}" if latency else wording.UNKNOWN,
            wording.scientific(m.worst.difference),
        ]
        table.add_row(*map(Text, cells), style="bold" if is_chosen else None)
    table.caption = f"★ chosen   ! over budget   share: of the base network’s {wording.SHORT_MEASURES[finals.cost]}"
    table.caption_justify = "left"
    return table


def verdict_table(finals: Finals) -> Table:
    """Chosen network against each control, for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("alternative", "test", "chosen − it", "95% interval", "seeds"):
        table.add_column(name, justify="left" if name == "alternative" else "right")
    table.add_column("verdict")
    tests = {c.name: c.mean_test for c in finals.controls}
    for v in finals.verdicts:
        style = {True: "green", False: "bold red", None: None}[v.beat]
        cells = [
            wording.plain(LABELS.get(v.name, v.name)),
            wording.percent(tests.get(v.name, math.nan)),
            wording.UNKNOWN if v.difference is None else wording.signed(v.difference),
            _interval(v),
            str(v.seeds),
        ]
        word = (
            "not compared" if v.difference is None else {True: "beaten", False: "LOST", None: "not told apart"}[v.beat]
        )
        table.add_row(*map(Text, cells), Text(word, style=style or ""))
    table.caption = "test accuracy; differences in percentage points"
    table.caption_justify = "left"
    return table


def forecast_table(table: pa.Table, finals: Finals) -> Table | None:
    """How well forecasts and probes ranked what was trained, for the terminal; None where nothing was foretold.

    Args:
        table: the run's archive.
        finals: its final measurements.
    """
    forecasts = judge_forecasts(table)
    if not forecasts.pairs:
        return None
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("ranks trainings", "τ", "95% interval", "ρ", "95% interval", "off by", "90% intervals held"):
        shown.add_column(name, justify="left" if name == "ranks trainings" else "right")
    ranking, number = forecasts.ranking, len(forecasts.pairs)
    held = f"{sum(p.held for p in forecasts.pairs)} of {number}"
    shown.add_row("forecast", *_estimate(ranking.tau), *_estimate(ranking.rho), f"{forecasts.error:.2g} points", held)
    probe = "refitted probe" if forecasts.refitted else "probe"
    shown.add_row(probe, *_estimate(ranking.tau_rival), *_estimate(ranking.rho_rival))
    caption = f"validation accuracy of {wording.plural(number, 'training')}"
    if finals.screening is not None and finals.ledger.saved_seconds > 0:
        caption += (
            f"\n{wording.count(finals.screening.passed_over)} genomes passed over unprobed, "
            f"{wording.duration(finals.ledger.saved_seconds)} saved by estimate"
        )
    if finals.screening is not None and not finals.screening.trusted:
        caption += f"\n{NOT_FOLLOWED}"
    shown.caption = Text(caption)
    shown.caption_justify = "left"
    return shown


def _estimate(e: Estimate) -> tuple[str, str]:
    value = f"{e.value:.2f}".replace("-", "−") if math.isfinite(e.value) else wording.UNKNOWN
    return value, wording.bracket(e.low, e.high, 2) if e.bounded else wording.UNKNOWN


def _interval(v: Verdict) -> str:
    return wording.UNKNOWN if v.low is None or v.high is None else wording.bracket(v.low, v.high)
