"""Classification loss and next-layer importance: what the channel gives to outputs that matter.

After Guo, Ouyang and Xu, "Channel Pruning Guided by Classification Loss and Feature Importance", AAAI 2020 (arXiv
2003.06757): the error that a channel's removal makes in the next layer's features is weighted by the loss's gradient,
and features that will themselves be pruned next do not count. The paper's exact weights were not at hand; this score
is our reading: a second-order expansion of the loss with the empirical Fisher matrix, between one channel and one
output at a time, and soft weights for the outputs. It selects no channels by LASSO, as the paper does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.criteria.channels import sum_on_channels
from spaces.criteria.evidence import Evidence
from spaces.groups import Group, Member


def score(group: Group, evidence: Evidence, generator: torch.Generator) -> Tensor:
    """``½ Σ_j m_j mean_n (Σ_p g_nj(p) y_nji(p))²`` over the consumers' outputs j, float64 ``[group.size]``.

    ``y_nji`` is what channel i adds to output j at image n and ``g_nj`` the loss's derivative by that output, both at
    position p. ``m_j``, in [0, 1], is the same score of output j itself with all of *its* outputs weighted one, divided
    by the greatest of its group; one for outputs that no group owns.
    """
    return sum(
        (_through(group, m, evidence, _weights(m.layer, evidence)) for m in group.consumers()),
        torch.zeros(group.size, dtype=torch.float64),
    )


def _through(group: Group, reader: Member, evidence: Evidence, weights: Tensor | None = None) -> Tensor:
    edges = evidence.edge_fisher.get(reader.layer)
    if edges is None:
        return torch.zeros(group.size, dtype=torch.float64)
    total = edges.sum(dim=0) if weights is None else weights @ edges
    blocks = evidence.blocks.get(reader.layer, 1)
    return sum_on_channels(total.repeat_interleave(blocks) / blocks, group, reader) / 2


def _weights(layer: str, evidence: Evidence) -> Tensor:
    weights = torch.ones(len(evidence.network.get_submodule(layer).weight), dtype=torch.float64)  # type: ignore[arg-type]
    for group in evidence.groups:
        for maker in group.producers():
            if maker.layer == layer:
                ahead = sum(_through(group, m, evidence) for m in group.consumers())
                assert isinstance(ahead, Tensor)
                most = ahead.max()
                share = ahead / most if most > 0 else torch.ones_like(ahead)
                weights[torch.from_numpy(maker.positions)] = share[torch.from_numpy(maker.channels)]
    return weights
