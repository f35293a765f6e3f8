"""NASWOT: does the untrained network tell images apart by which of its ReLUs are on?

Mellor et al., "Neural Architecture Search without Training", ICML 2021 (arXiv 2006.04647), §3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.proxies.forward import run

RIDGE = 1e-3
"""Added to the kernel's diagonal, so that images of equal codes (a determinant of 0) leave a finite logarithm.

One unit in which two codes differ is worth 1: the ridge is well below that, and well above rounding.
"""


def score(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """``log det (K + RIDGE · I)`` of :func:`kernel`."""
    matrix = kernel(network, images)
    matrix.diagonal().add_(RIDGE)
    return float(torch.linalg.slogdet(matrix).logabsdet)


@torch.inference_mode(False)
@torch.no_grad()
def kernel(network: nn.Module, images: Tensor) -> Tensor:
    """In how many units two images agree on the sign of the activation's input: float64 ``[N, N]`` on the CPU.

    The diagonal is the number of units. Batch norms take the statistics of this batch.

    Raises:
        ValueError: the network calls no rectifier (:data:`workers.proxies.forward.ACTIVATIONS`).
    """
    count = len(images)
    total = torch.zeros(count, count, dtype=torch.float64, device=images.device)
    units = 0

    def watch(x: Tensor) -> None:
        nonlocal units
        # With codes of ±1 one product counts what two products of 0 and 1 would: agreements less disagreements. Sums
        # of ±1 are exact in float32 up to 2²⁴ units.
        codes = x.detach().reshape(count, -1).gt(0).to(torch.float32).mul_(2).sub_(1)
        total.add_(codes @ codes.T)
        units += codes.shape[1]

    run(network, images, watch=watch)
    if not units:
        raise ValueError(
            f"naswot: {type(network).__name__} calls no ReLU or similar activation, so images have no code; leave this "
            "proxy out"
        )
    return total.add_(units).div_(2).cpu()
