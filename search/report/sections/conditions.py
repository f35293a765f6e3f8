"""How everything was measured, and how to go on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from search.report import wording
from search.report.markup import Child, Markup, join, tag
from search.report.measurements import Finals, Latency


def conditions(finals: Finals) -> Markup:
    """The section: data, seeds, environment, conditions of the latency, remarks."""
    data, environment = finals.data, finals.environment
    channels, height, width = data.shape
    images = (
        f"{wording.count(data.train)} train, {wording.count(data.validation)} validation, "
        f"{wording.count(data.test)} test; {channels} × {height} × {width} (channels, height, width)"
    )
    budget = ", ".join(f"at most {wording.count(v)} {wording.SHORT_MEASURES[m]}" for m, v in finals.budget.items())
    repeats = f"; the chosen network and each control trained with {wording.plural(_seeds(finals), 'seed')}"
    seeds = f"{finals.seed}{repeats if _seeds(finals) else ''}"
    facts: list[tuple[str, Child]] = [
        ("Data", data.source),
        ("Images", images),
        ("Classes", f"{len(data.classes):,}: {wording.listed(data.classes)}" if data.classes else "not named"),
        ("Strategy", finals.strategy),
        ("Objectives", f"error and {wording.MEASURES[finals.cost]}, both minimised"),
        ("Budget", budget or "none"),
        ("Seed", seeds),
        ("Selection", "by validation images only; test images were used for this report alone"),
        ("Costs", "parameters, MACs and bytes are measured on the exported program and file"),
        ("Latency", _latency(finals)),
        ("Environment", f"torch {environment.torch}, Python {environment.python}"),
        ("Device", f"{environment.device}, {wording.plural(environment.threads, 'thread')} per evaluation"),
        *[("Remark", note) for note in finals.notes],
    ]
    entries = [piece for name, value in facts for piece in (tag("dt", name), tag("dd", value))]
    return tag("section", tag("h2", "How it was measured"), tag("dl", *entries, class_="conditions"), id="conditions")


def _seeds(finals: Finals) -> int:
    return max([len(finals.chosen_test), *(len(c.test) for c in finals.controls)], default=0)


def _latency(finals: Finals) -> str:
    found: list[Latency] = [m.latency for m in (finals.base, *finals.front) if m.latency is not None]
    if not found:
        return "not measured"
    kinds = dict.fromkeys(
        f"batch of {x.batch_size}, {x.dtype}, {wording.plural(x.threads, 'thread')}, {x.device}" for x in found
    )
    return "; ".join(kinds) + "; median with 95% interval, in turns with the base network"


def onward(finals: Finals, run: Path) -> Markup:
    """The section: commands to copy."""
    commands = [
        f"niwaki export {shlex.quote(str(run))} --format onnx",
        f"niwaki report {shlex.quote(str(run))}",
    ]
    if finals.tracking_uri:
        commands.append(wording.browsing(_public(finals.tracking_uri)))
    registered = (
        tag("p", join("Registered as ", tag("code", finals.registered), "."))
        if finals.registered
        else tag("p", "Not registered in MLflow.")
    )
    blocks = [tag("pre", wording.plain(command)) for command in commands]
    return tag("section", tag("h2", "To go on"), registered, *blocks, id="onward")


def _public(address: str) -> str:
    """An address without the name and password it may carry: reports are passed on."""
    return re.sub(r"//[^/@]*@", "//", address)
