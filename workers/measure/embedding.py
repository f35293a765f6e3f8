"""A few numbers that describe a candidate's feature embedding, for surrogates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NAMES = ("dimension", "dead", "mean", "spread", "effective_rank", "discriminant")


def embedding_statistics(features: Tensor, labels: Tensor, classes: int) -> tuple[float, ...]:
    """Statistics of features ``[N, D]`` with labels ``[N]``, in the order of :data:`NAMES`.

    ``dimension`` is log2 D; ``dead`` the share of constant features; ``mean`` and ``spread`` the mean and standard
    deviation over all entries; ``effective_rank`` the exponential of the entropy of the covariance's normalised
    eigenvalues, over D (Roy & Vetterli, EUSIPCO 2007); ``discriminant`` the mean over features of log(1 + between-class
    over within-class variance) (Tian et al., CVIU 2021, eq. of diagonal LDA).
    """
    x = features.double()
    dimension = x.shape[1]
    centred = x - x.mean(0)
    total = centred.square().mean(0)
    dead = total < 1e-12
    onehot = F.one_hot(labels, classes).double()
    counts = onehot.sum(0).clamp_min(1)
    means = (onehot.T @ x) / counts[:, None]
    within = (x - means[labels]).square().mean(0)
    between = total - within
    ratio = torch.where(dead, torch.zeros_like(total), between.clamp_min(0) / within.clamp_min(1e-12))
    spectrum = torch.linalg.svdvals(centred).square()
    share = spectrum / spectrum.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-300).log()).sum()
    return (
        float(torch.tensor(float(dimension)).log2()),
        float(dead.double().mean()),
        float(x.mean()),
        float(x.std()),
        float(entropy.exp() / dimension),
        float(torch.log1p(ratio).mean()),
    )
