"""Jacobian covariance: do images pull the untrained network in directions of their own?

The first version (arXiv 2006.04647v1) of Mellor et al., "Neural Architecture Search without Training", as ``jacob_cov``
in Abdelfattah et al., ICLR 2021 (arXiv 2101.08134).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.proxies.forward import copies, run

SMALLEST = 1e-5
"""The paper's k, added to eigenvalues."""


def score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """``−log mean_i [log(v_i + k) + 1 / (v_i + k)]``, between log k and 0; v are eigenvalues of the correlations.

    The paper's score is ``−Σ_i`` of the same terms; these are at least 1 and up to 1/k, hence the logarithm. Only the
    largest min(N, D − 1) eigenvalues count for images of D values: no network can raise the others above 0.
    """
    rows = jacobians(network, images).to("cpu", torch.float64)
    count = min(len(rows), rows.shape[1] - 1)
    if count < 1:
        raise ValueError(f"jacobian: images {list(images.shape)} have no two values each to correlate; leave it out")
    # Rounding makes tiny eigenvalues negative, and the terms have a pole there.
    values = torch.linalg.eigvalsh(correlations(rows))[-count:].clamp_min(0) + SMALLEST
    return -math.log(float((values.log() + 1 / values).mean()))


@torch.inference_mode(False)
def jacobians(network: nn.Module, images: Tensor) -> Tensor:
    """Gradient of each image's sum of logits by that image: ``[N, C · H · W]``.

    Batch norms take the statistics of this batch as constants, so that images do not see each other.
    """
    leaf = images.detach().clone().requires_grad_()
    output = run(network, leaf, norm=_by_constants, tensors=copies(network))
    (gradient,) = torch.autograd.grad(output.sum(), leaf)
    return gradient.reshape(len(images), -1)


def correlations(rows: Tensor) -> Tensor:
    """Pearson's correlations of float64 rows ``[N, D]``: ``[N, N]``.

    A row without variance correlates with nothing, not even with itself: an image that the network ignores adds an
    eigenvalue of 0, the worst there is.
    """
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    unit = torch.where(norms > 0, centred / norms, torch.zeros_like(centred))
    return unit @ unit.T


def _by_constants(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x.detach(), axes, correction=0)
    return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
