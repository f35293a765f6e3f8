"""Budgets: the most parameters, multiply-accumulates or bytes that a candidate may have."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.layout import Cost


@dataclass(frozen=True)
class Budget:
    """Upper bounds in absolute units; ``None`` leaves a measure free."""

    params: int | None = None
    macs: int | None = None
    bytes: int | None = None

    def limits(self) -> dict[str, int]:
        """The bounds that are set, by measure."""
        return {k: v for k, v in (("params", self.params), ("macs", self.macs), ("bytes", self.bytes)) if v is not None}

    def violation(self, cost: Cost) -> float:
        """Largest relative excess over a bound, ≥ 0; 0 when every bound is met."""
        return (
            max((getattr(cost, name) / limit - 1.0 for name, limit in self.limits().items()), default=0.0)
            if not self.met(cost)
            else 0.0
        )

    def met(self, cost: Cost) -> bool:
        return all(getattr(cost, name) <= limit for name, limit in self.limits().items())
