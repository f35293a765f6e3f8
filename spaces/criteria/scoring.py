"""Tables of scores: every criterion on every group, raw and as ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from spaces.agreement import applicable
from spaces.blend import ranks
from spaces.criteria.criterion import Criterion
from spaces.criteria.evidence import Evidence, collect_evidence
from spaces.groups import Group
from spaces.layout import Layout


def score_groups(
    network: nn.Module,
    layout: Layout,
    criteria: Sequence[Criterion],
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    generator_for: Callable[[str, str], torch.Generator],
) -> dict[str, np.ndarray]:
    """Raw scores of every group: by group name, float64 ``[criteria, size]``, rows in the order of ``criteria``.

    Args:
        network: the base network that ``layout`` was made from; left as it was.
        layout: its groups.
        criteria: see :func:`spaces.criteria.resolve`.
        images: scoring images ``[N, C, H, W]``; read only if a criterion needs them.
        labels: int64 ``[N]``.
        batch_size: images per step of the pass.
        generator_for: a fresh generator for (criterion name, group name), so that no score depends on the order of
            evaluation.

    Raises:
        ValueError: a criterion fails on a group, or returns a wrong shape or scores that are not finite; see also
            :func:`spaces.criteria.evidence.collect_evidence`.
    """
    needs = frozenset().union(*(c.needs for c in criteria))
    draws = generator_for("evidence", "class_masks") if "class_masks" in needs else None
    evidence = collect_evidence(network, layout, images, labels, batch_size, needs, draws)
    with torch.no_grad():
        return {
            group.name: np.array(
                [_row(c, group, evidence, generator_for(c.name, group.name)) for c in criteria], dtype=np.float64
            ).reshape(len(criteria), group.size)
            for group in layout.groups
        }


def rank_tables(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each row of each table as :func:`spaces.blend.ranks`: what :func:`spaces.blend.select` reads.

    A criterion that tells nothing of a group (see :func:`spaces.agreement.applicable`) is left out there: its ranks are
    0.5 everywhere, and have no part in what a blend chooses. Where none tells anything all stay: a faint order is
    better than that of the channels.
    """
    return {name: _heard(table) for name, table in scores.items()}


def _heard(table: np.ndarray) -> np.ndarray:
    telling = applicable(table)
    found = np.array([ranks(row) for row in table], dtype=np.float64).reshape(table.shape)
    return np.where(telling[:, None], found, 0.5) if telling.any() else found


def left_out(tables: Mapping[str, np.ndarray], criteria: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Per group, the criteria that :func:`rank_tables` left out; groups where all take part do not appear.

    Args:
        tables: ranks by group name, float ``[criteria, size]``; of one channel there is nothing to tell.
        criteria: names, in the order of rows.
    """
    silent = {
        group: tuple(name for name, row in zip(criteria, table, strict=True) if (row == 0.5).all())
        for group, table in tables.items()
        if table.shape[1] > 1
    }
    return {group: names for group, names in silent.items() if names}


def _row(criterion: Criterion, group: Group, evidence: Evidence, generator: torch.Generator) -> np.ndarray:
    where = f"criterion {criterion.name!r} on group {group.name!r}"
    try:
        scores = torch.as_tensor(criterion.score(group, evidence, generator)).detach().to("cpu", torch.float64)
    except Exception as error:
        raise ValueError(f"{where} raised {type(error).__name__}: {error}") from error
    if scores.shape != (group.size,):
        raise ValueError(f"{where} returned shape {list(scores.shape)}; it must be [{group.size}], one per channel")
    strange = torch.nonzero(~torch.isfinite(scores)).flatten().tolist()
    if strange:
        raise ValueError(
            f"{where} gave {scores[strange[0]]} for channel {strange[0]} ({len(strange)} of {group.size} are not "
            f"finite); look for weights or losses that are not numbers"
        )
    return scores.numpy()
