"""Zero-cost proxies: what networks promise before they are trained. To add one, write its file and its line below.

Proxies know widths and depths, hardly which channels were kept; and they correlate with size. Only what they say beyond
the numbers of parameters and operations is information.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from spaces.randomness import torch_generator
from workers.batches import Tensors
from workers.planes import fast_forward
from workers.proxies import grad_norm, jacobian, naswot, snip, synflow, zen
from workers.proxies.proxy import Proxy, Score

__all__ = ["PROXIES", "Proxy", "Score", "check_proxies", "measure_proxies"]

PROXIES: dict[str, Proxy] = {
    "synflow": Proxy("synflow", synflow.score, 1),
    "snip": Proxy("snip", snip.score, 64),
    "grad_norm": Proxy("grad_norm", grad_norm.score, 64),
    "naswot": Proxy("naswot", naswot.score, 128, planes=True),
    "jacobian": Proxy("jacobian", jacobian.score, 64),
    "zen": Proxy("zen", zen.score, 32),
}


@torch.inference_mode(False)
def measure_proxies(names: Sequence[str], network: nn.Module, data: Tensors, seed: int) -> dict[str, float]:
    """Scores of the proxies called ``names`` as metrics ``proxy_<name>``; higher promises more accuracy.

    Args:
        network: on the device of ``data``; left bit for bit as it was.
        data: mixed training images; each proxy takes the first ones, as many as it wants or all that there are.
        seed: candidates that are compared need the same. A score depends on it, not on the other names.

    Raises:
        ValueError: no such proxy (the nearest is proposed), fewer than two images, or a network that a proxy cannot
            score.
    """
    proxies = [_find(name) for name in names]
    if proxies and len(data) < 2:
        raise ValueError(f"proxies compare images and need at least two, got {len(data)}; give them a larger sample")
    metrics: dict[str, float] = {}
    for proxy in proxies:
        sample = data.first(proxy.batch)
        images = sample.normalise(sample.images)
        generator = torch_generator(seed, "proxy", proxy.name)
        with fast_forward(network, sample) if proxy.planes else nullcontext():
            metrics[f"proxy_{proxy.name}"] = proxy.score(network, images, sample.labels, generator)
    return metrics


def check_proxies(names: Sequence[str]) -> None:
    """Raises ValueError where no proxy has one of these names; the nearest is proposed."""
    for name in names:
        _find(name)


def _find(name: str) -> Proxy:
    if name in PROXIES:
        return PROXIES[name]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), PROXIES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PROXIES)}"
    raise ValueError(f"probe.proxies: there is no {name!r}; {hint}")
