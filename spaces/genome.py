"""What evolution varies, as one immutable value with a canonical text and a content hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

DIGITS = 4
"""Decimals kept of every real gene: enough for any width, and it makes the text of a genome canonical."""


@dataclass(frozen=True)
class Genome:
    """One point of a :class:`spaces.space.Space`.

    Attributes:
        growth: modules added to each stage, integers ≥ 0; empty where the network cannot grow.
        width: overall factor on all keep ratios, in (0, 1].
        keep: keep ratio per group of the space (in its order), in (0, 1].
        blend: per cluster of groups, one weight ≥ 0 per criterion; each row sums to 1.
        settings: of a member of a population, its own values of the settings that the run varies (see
            :mod:`search.strategies.population`); else empty.
    """

    growth: tuple[int, ...]
    width: float
    keep: tuple[float, ...]
    blend: tuple[tuple[float, ...], ...]
    settings: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "growth", tuple(int(g) for g in self.growth))
        object.__setattr__(self, "width", _rounded(self.width))
        object.__setattr__(self, "keep", _all_rounded(self.keep))
        object.__setattr__(self, "blend", tuple([_all_rounded(row) for row in self.blend]))
        object.__setattr__(self, "settings", tuple(map(_significant, self.settings)))

    @cached_property
    def text(self) -> str:
        """Canonical JSON: equal genomes have equal texts, on every platform."""
        fields: dict[str, Any] = {"blend": self.blend, "growth": self.growth, "keep": self.keep, "width": self.width}
        if self.settings:
            fields["settings"] = self.settings
        return json.dumps(fields, separators=(",", ":"), sort_keys=True)

    @cached_property
    def id(self) -> str:
        """Content hash of the genome: 12 hexadecimal digits of SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @classmethod
    def from_text(cls, text: str) -> Genome:
        """Parse :attr:`text`.

        Raises:
            ValueError: not JSON, or not a genome; the message says which field.
        """
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a genome ({error}): {text[:80]!r}") from error
        if not isinstance(fields, dict):
            raise ValueError(f"not a genome: {text[:80]!r}")
        growth, width, keep, blend = (fields.get(name) for name in ("growth", "width", "keep", "blend"))
        if not isinstance(growth, list) or not all(type(g) is int and g >= 0 for g in growth):
            raise ValueError(f"not a genome: growth must be a list of integers ≥ 0, got {growth!r}")
        if not _is_real(width):
            raise ValueError(f"not a genome: width must be a number, got {width!r}")
        if not _are_reals(keep):
            raise ValueError(f"not a genome: keep must be a list of numbers, got {keep!r}")
        if not isinstance(blend, list) or not all(_are_reals(row) for row in blend):
            raise ValueError(f"not a genome: blend must be a list of lists of numbers, got {blend!r}")
        settings = fields.get("settings", [])
        if not _are_reals(settings):
            raise ValueError(f"not a genome: settings must be a list of numbers, got {settings!r}")
        return cls(tuple(growth), width, tuple(keep), tuple(map(tuple, blend)), tuple(settings))


def _rounded(value: float) -> float:
    return round(float(value), DIGITS) + 0.0  # the sum has no negative zero, which would equal zero in another text


def _all_rounded(values: Iterable[float]) -> tuple[float, ...]:
    # A search makes a few genomes an evaluation, of some dozen genes each: a call for every gene would be felt.
    return tuple([round(value, DIGITS) + 0.0 for value in map(float, values)])


def _significant(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}") + 0.0  # learning rates have no use for a fixed number of decimals


def _is_real(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value)


def _are_reals(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(_is_real(v) for v in values)
