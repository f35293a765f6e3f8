"""What evolution varies, as one immutable value with a canonical text and a content hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

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
    """

    growth: tuple[int, ...]
    width: float
    keep: tuple[float, ...]
    blend: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "growth", tuple(int(g) for g in self.growth))
        object.__setattr__(self, "width", round(float(self.width), DIGITS))
        object.__setattr__(self, "keep", tuple(round(float(k), DIGITS) for k in self.keep))
        object.__setattr__(self, "blend", tuple(tuple(round(float(w), DIGITS) for w in row) for row in self.blend))

    @cached_property
    def text(self) -> str:
        """Canonical JSON: equal genomes have equal texts, on every platform."""
        return json.dumps(
            {"blend": self.blend, "growth": self.growth, "keep": self.keep, "width": self.width},
            separators=(",", ":"),
            sort_keys=True,
        )

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
            return cls(
                tuple(fields["growth"]),
                fields["width"],
                tuple(fields["keep"]),
                tuple(tuple(r) for r in fields["blend"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"not a genome ({error!r}): {text[:80]!r}") from error
