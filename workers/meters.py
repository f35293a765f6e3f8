"""Figures for Prometheus: Ray's agent on this node hands out what is told here, where Ray is installed with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.util import metrics

COUNTER, GAUGE = "counter", "gauge"


@dataclass(frozen=True)
class Meter:
    """A kind of figure. Ray puts ``ray_`` before its name, and ``_total`` behind that of a counter.

    Attributes:
        kind: ``counter`` (only grows; begins at zero with every driver) or ``gauge`` (what is the case now).
        about: for people, in Prometheus' help line.
        labels: names of the labels that tell its values apart.
    """

    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()


class RayMeters:
    """All meters of one run on Ray.

    Telling costs microseconds; without an agent on this node it goes nowhere.

    Args:
        labels: of every figure.
    """

    def __init__(self, meters: tuple[Meter, ...], labels: Mapping[str, str]) -> None:
        self._meters = {meter.name: _make(meter, labels) for meter in meters}

    def add(self, name: str, amount: float, labels: Mapping[str, str]) -> None:
        """Let a counter grow; by nothing is allowed, too."""
        if amount > 0:
            self._meters[name].inc(amount, dict(labels))

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Say what a gauge stands at."""
        self._meters[name].set(value, dict(labels))


def _make(meter: Meter, labels: Mapping[str, str]) -> Any:
    kinds = {COUNTER: metrics.Counter, GAUGE: metrics.Gauge}
    made = kinds[meter.kind](meter.name, meter.about, (*labels, *meter.labels))
    return made.set_default_tags(dict(labels))
