"""What the picture of the front shows, gathered once for the interactive figure and the PNG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from search.report.axis import LogAxis, cost_axis, error_axis
from search.report.measurements import Control, Finals, Measured
from workers.evaluation import INTERVAL, OK, PROBE, TRAIN, is_control

MOST_PROBES = 4000
"""Probes drawn at most; of more, evenly many are left out, and the caption says so."""


@dataclass(frozen=True)
class Spot:
    """A network in the picture."""

    candidate: str
    cost: float
    accuracy: float


@dataclass(frozen=True)
class Scene:
    """Everything in the picture of the front.

    Attributes:
        probes: validation accuracy without training (of the refitted classifier, where it was measured), or of a
            member of a population after an interval of it.
        probe_count: all probes that succeeded, drawn or not.
        passing: what they are called: probe or member.
        trained: validation accuracy of every candidate that was trained.
        front: measured networks of the front that are not the chosen one, cheapest first.
        stairs: best held-out accuracy of the front for every cost, as corners (cost, accuracy).
        floor: least error that can be drawn.
    """

    probes: tuple[Spot, ...]
    probe_count: int
    passing: str
    trained: tuple[Spot, ...]
    front: tuple[Measured, ...]
    chosen: Measured | None
    base: Measured
    controls: tuple[Control, ...]
    limit: float | None
    stairs: tuple[tuple[float, float], ...]
    floor: float
    x: LogAxis
    y: LogAxis


def build_scene(table: pa.Table, finals: Finals) -> Scene:
    """Gather the picture from the archive and the final measurements."""
    measure = finals.cost
    members = spots_of(table, INTERVAL, measure)
    probes = members or spots_of(table, PROBE, measure)
    trained = spots_of(table, TRAIN, measure)
    chosen = finals.chosen_network
    shown = probes[:: math.ceil(len(probes) / MOST_PROBES)] if probes else ()
    limit = finals.budget.get(measure)
    stairs = _stairs(finals.front, measure)
    floor = 0.5 / max(finals.data.test, 1)
    measured = [finals.base, *finals.front]
    accuracies = [s.accuracy for s in (*shown, *trained)]
    accuracies += [a for m in measured for a in (m.validation_accuracy, m.test_accuracy)]
    accuracies += [c.mean_test for c in finals.controls]
    costs = [s.cost for s in (*shown, *trained)] + [float(m.cost(measure)) for m in measured]
    costs += [float(c.cost(measure)) for c in finals.controls] + ([limit] if limit else [])
    return Scene(
        probes=shown,
        probe_count=len(probes),
        passing="member" if members else "probe",
        trained=trained,
        front=tuple(sorted((m for m in finals.front if m is not chosen), key=lambda m: m.cost(measure))),
        chosen=chosen,
        base=finals.base,
        controls=tuple(c for c in finals.controls if math.isfinite(c.mean_test)),
        limit=limit,
        stairs=stairs,
        floor=floor,
        x=cost_axis(costs),
        y=error_axis(accuracies, floor),
    )


def spots_of(table: pa.Table, stage: str, measure: str) -> tuple[Spot, ...]:
    """The successful evaluations of a stage that the search itself asked for, without repeats."""
    names = ["candidate", "stage", "origin", "repeat", "status", "accuracy", "refit_accuracy", measure]
    spots = []
    for row in table.select(names).to_pylist():
        if row["stage"] != stage or row["status"] != OK or row["repeat"] or is_control(row["origin"]):
            continue
        accuracy = row["accuracy"]
        if stage == PROBE and _finite(row["refit_accuracy"]):
            accuracy = row["refit_accuracy"]
        if _finite(accuracy) and row[measure]:
            spots.append(Spot(row["candidate"], float(row[measure]), float(accuracy)))
    return tuple(spots)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _stairs(front: tuple[Measured, ...], measure: str) -> tuple[tuple[float, float], ...]:
    """Corners where a dearer network is more accurate than all cheaper ones on held-out images."""
    corners: list[tuple[float, float]] = []
    for network in sorted(front, key=lambda m: (m.cost(measure), -m.test_accuracy)):
        if math.isfinite(network.test_accuracy) and (not corners or network.test_accuracy > corners[-1][1]):
            corners.append((float(network.cost(measure)), network.test_accuracy))
    return tuple(corners)
