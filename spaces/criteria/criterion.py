"""What a criterion is: a name, a scoring function, and the evidence that it looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spaces.criteria.evidence import Evidence
from spaces.groups import Group

Score = Callable[[Group, Evidence, torch.Generator], Tensor]
"""``score(group, evidence, generator)``: float64 ``[group.size]``, finite, higher is more important.

It must change neither network nor evidence, and draw from ``generator`` only.
"""


@dataclass(frozen=True)
class Criterion:
    """Scores the channels of a group.

    Attributes:
        name: what configuration, genomes and reports call it.
        score: the scoring function.
        needs: names of the evidence it reads, of :data:`spaces.criteria.evidence.KINDS`; empty if weights suffice.
    """

    name: str
    score: Score
    needs: frozenset[str] = field(default_factory=frozenset)
