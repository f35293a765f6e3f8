"""Cross-entropy with label smoothing: the loss of the labels, unless the settings choose another."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """−Σ_k q_k log p_k of ``[B, K]`` logits, averaged over the batch; q = (1 − s) on the label + s / K on every class.

    Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.

    Args:
        smoothing: s in [0, 1).
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)
