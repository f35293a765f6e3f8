"""Distillation: the student agrees with the teacher's softened probabilities."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def distillation(logits: Tensor, soft_labels: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher ‖ student) of ``[B, K]`` logits at temperature T, averaged over the batch.

    Hinton et al. 2015, arXiv 1503.02531, section 2: T² keeps the gradient's size when T changes.
    """
    student, teacher = F.log_softmax(logits / temperature, dim=1), F.log_softmax(soft_labels / temperature, dim=1)
    return temperature * temperature * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
