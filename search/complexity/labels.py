"""Where names stand in a picture so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence

_SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
Box = tuple[float, float, float, float]


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    gap: float,
    others: Sequence[tuple[float, float]] = (),
) -> list[tuple[float, float] | None]:
    """Centres of the labels, each beside its point, or None where every side is taken; earlier ones come first.

    Args:
        points: where they belong to, in any unit of length.
        sizes: width and height of each label, in that unit.
        gap: distance from a point to its label.
        others: points without a label, not to be covered either.
    """
    taken: list[Box] = [_box(x, y, 1.4 * gap, 1.4 * gap) for x, y in [*points, *others]]
    found: list[tuple[float, float] | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        centres = [(x + sx * (gap + width / 2), y + sy * (gap + height / 2)) for sx, sy in _SIDES]
        free = (c for c in centres if not any(_meet(_box(*c, width, height), box) for box in taken))
        chosen = next(free, None)
        if chosen is not None:
            taken.append(_box(*chosen, width, height))
        found.append(chosen)
    return found


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
