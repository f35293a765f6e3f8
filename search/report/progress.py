"""How the front grew: its hypervolume on validation data after every evaluation of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa

from search.front import Point, front_indices, hypervolume, normalised
from search.report.measurements import Finals
from workers.evaluation import FINISH, OK, TRAIN, is_control


@dataclass(frozen=True)
class Progress:
    """Hypervolume as a staircase: from ``evaluations[i]`` evaluations (``seconds[i]`` device-seconds) on it was
    ``volumes[i]``. Starts at zero and ends with the last evaluation."""

    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]
    volumes: tuple[float, ...]

    @property
    def final(self) -> float:
        """Hypervolume at the end."""
        return self.volumes[-1]


def measure_progress(table: pa.Table, finals: Finals) -> Progress:
    """The progress of a finished run."""
    base_cost = float(finals.base.cost(finals.cost)) or 1.0
    return replay(table, finals.cost, base_cost, finals.hypervolume.reference)


def replay(table: pa.Table, cost: str, base_cost: float, reference: tuple[float, float]) -> Progress:
    """Replay the archive. Controls, repeated trainings and their time are left out: they are not the search's."""
    names = ["number", "stage", "origin", "repeat", "status", "accuracy", "violation", "seconds", cost]
    front: list[Point] = []
    done, spent, volume = 0, 0.0, 0.0
    steps = [(0, 0.0, 0.0)]
    for row in sorted(table.select(names).to_pylist(), key=lambda r: int(r["number"])):
        if is_control(row["origin"]) or row["repeat"]:
            continue
        done += 1
        spent += row["seconds"] or 0.0
        if row["stage"] not in (TRAIN, FINISH) or row["status"] != OK:
            continue
        front.append(_point(row, cost, base_cost))
        front = [front[i] for i in front_indices(front)]
        # A better front never has less volume: rounding must not say so either.
        grown = max(volume, hypervolume(front, reference))
        if grown > volume:
            volume = grown
            steps.append((done, spent, volume))
    steps.append((done, spent, volume))
    evaluations, seconds, volumes = zip(*steps, strict=True)
    return Progress(evaluations, seconds, volumes)


def volume_range(progress: Progress, held_out: float) -> tuple[float, float]:
    """What of the volumes to draw: from the first front's on, as the leap to it from zero would dwarf all progress."""
    shown = [v for v in (*progress.volumes, held_out) if v > 0]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    margin = max(0.12 * (high - low), 0.005)
    return max(low - margin, 0.0), high + margin


def _point(row: dict[str, float | None], cost: str, base_cost: float) -> Point:
    accuracy, amount, violation = (_number(row[name]) for name in ("accuracy", cost, "violation"))
    return Point(violation, normalised(1.0 - accuracy, amount, base_cost))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
