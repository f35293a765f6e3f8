"""Everything that `niwaki criteria` found, for the terminal, for programs and for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from search.criteria.tree import ALIKE, Tree, grow_tree
from spaces.agreement import mean_agreement

YARDSTICK = "random"
"""This criterion is drawn and not judged: what others have in common with it is chance."""
_SAME = 0.995
"""Two criteria of this mean rank correlation and more are twins: it reads 1.00."""


@dataclass(frozen=True)
class Measured:
    """What was looked at, and how.

    Attributes:
        shape: channels, height, width of an image.
        training, scoring: images in the training split, and those of them that data-driven criteria saw.
        weights: the file that the base network's weights were read from; None where it was trained, for ``epochs``.
        accuracy: of the base network on the validation split.
        width: share of each group's channels that stay where pruned sets are compared.
    """

    network: str
    source: str
    shape: tuple[int, int, int]
    classes: int
    training: int
    scoring: int
    weights: str | None
    epochs: int
    accuracy: float
    width: float
    seed: int


@dataclass(frozen=True)
class Pair:
    """Two criteria and how far they agree."""

    first: str
    second: str
    agreement: float


@dataclass(frozen=True)
class GroupAgreement:
    """What criteria say of one group.

    Attributes:
        size: its channels, of which ``kept`` stay where pruned sets are compared.
        spearman, jaccard: float64 ``[J, J]``, see :mod:`spaces.agreement`.
        left_out: criteria that do not tell its channels apart.
    """

    name: str
    size: int
    kept: int
    spearman: np.ndarray
    jaccard: np.ndarray
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class CriteriaReport:
    """All results.

    Attributes:
        criteria: names, in the order of rows of all matrices.
        looks: for each criterion what it looks at: ``weights`` alone, ``data``, or ``nothing``.
        groups: from input to output.
    """

    measured: Measured
    criteria: tuple[str, ...]
    looks: tuple[str, ...]
    groups: tuple[GroupAgreement, ...]

    @cached_property
    def spearman(self) -> np.ndarray:
        """Mean over the groups where both criteria take part, NaN where there is none, float64 ``[J, J]``."""
        return mean_agreement(group.spearman for group in self.groups)

    @cached_property
    def jaccard(self) -> np.ndarray:
        """As :attr:`spearman`, of the pruned sets."""
        return mean_agreement(group.jaccard for group in self.groups)

    @cached_property
    def tree(self) -> Tree:
        """Criteria joined by their mean rank correlation."""
        return grow_tree(self.spearman)

    @property
    def judged(self) -> np.ndarray:
        """Rows of the criteria without the yardstick."""
        return np.array([i for i, name in enumerate(self.criteria) if name != YARDSTICK])

    def pairs(self, agreement: np.ndarray) -> list[Pair]:
        """All pairs of judged criteria that have a figure in ``agreement`` ``[J, J]``, most alike first."""
        rows = self.judged
        found = [
            Pair(self.criteria[i], self.criteria[j], float(agreement[i, j]))
            for a, i in enumerate(rows)
            for j in rows[a + 1 :]
            if math.isfinite(agreement[i, j])
        ]
        return sorted(found, key=lambda pair: -pair.agreement)

    @cached_property
    def twins(self) -> frozenset[Pair]:
        """Pairs that order all channels all but alike; one of the two could be left away."""
        return frozenset(pair for pair in self.pairs(self.spearman) if pair.agreement >= _SAME)

    def telling(self, pairs: list[Pair]) -> list[Pair]:
        """Those of ``pairs``, of one group or of all, that are not twins: what is known once need not be said again."""
        twins = {(pair.first, pair.second) for pair in self.twins}
        return [pair for pair in pairs if (pair.first, pair.second) not in twins]

    def mean(self, agreement: np.ndarray) -> float:
        """Over all pairs of judged criteria; NaN where there is none."""
        return _mean([pair.agreement for pair in self.pairs(agreement)])

    def mean_between(self, agreement: np.ndarray, first: str, second: str) -> float:
        """Over all pairs of which one looks at ``first`` and the other at ``second``; NaN where there is none."""
        of = [np.array([look == kind for look in self.looks]) for kind in (first, second)]
        chosen = (of[0][:, None] & of[1]) & ~np.eye(len(self.criteria), dtype=bool)
        return _mean(agreement[chosen & np.isfinite(agreement)].tolist())

    def with_others(self, agreement: np.ndarray) -> np.ndarray:
        """Each criterion's mean agreement with the other judged ones, float64 ``[J]``; NaN where there is none."""
        alone = agreement.copy()
        np.fill_diagonal(alone, np.nan)
        return np.array([_mean([x for x in row[self.judged] if math.isfinite(x)]) for row in alone])

    def blocks(self) -> list[tuple[str, ...]]:
        """Sets of two and more judged criteria whose mean rank correlation is at least :data:`ALIKE`, large first."""
        sets = [tuple(self.criteria[i] for i in block if i in self.judged) for block in self.tree.blocks()]
        return sorted((names for names in sets if len(names) > 1), key=lambda names: -len(names))

    def left_out(self) -> dict[str, tuple[str, ...]]:
        """Per criterion, the groups that it was left out of."""
        found = {name: tuple(g.name for g in self.groups if name in g.left_out) for name in self.criteria}
        return {name: groups for name, groups in found.items() if groups}

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs; what there is no figure for is null."""
        return {
            "measured": {**vars(self.measured), "shape": list(self.measured.shape)},
            "criteria": [
                {"name": name, "looks_at": looks} for name, looks in zip(self.criteria, self.looks, strict=True)
            ],
            "spearman": _plain(self.spearman),
            "jaccard": _plain(self.jaccard),
            "mean": {"spearman": _number(self.mean(self.spearman)), "jaccard": _number(self.mean(self.jaccard))},
            "tree": {
                "order": [self.criteria[i] for i in self.tree.order],
                "members": [self.criteria[i] for i in self.tree.members],
                "linkage": self.tree.joins.tolist(),
                "blocks": {"least": ALIKE, "criteria": [list(names) for names in self.blocks()]},
            },
            "groups": [
                {
                    "name": g.name,
                    "size": g.size,
                    "kept": g.kept,
                    "left_out": list(g.left_out),
                    "mean": {"spearman": _number(self.mean(g.spearman)), "jaccard": _number(self.mean(g.jaccard))},
                    "spearman": _plain(g.spearman),
                    "jaccard": _plain(g.jaccard),
                }
                for g in self.groups
            ],
        }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(table: np.ndarray) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in table.tolist()]
