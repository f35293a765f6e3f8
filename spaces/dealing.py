"""A whole number dealt out as evenly as whole numbers allow."""

from __future__ import annotations


def deal(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` parts that differ by one at most, in a fixed order."""
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]
