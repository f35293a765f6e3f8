"""Streamed statistics of a layer's inputs: what each needs is the running batch, and sums."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KINDS = frozenset(
    {
        "activation_mean",
        "active_fraction",
        "activation_variance",
        "map_rank",
        "conditional_variance",
        "class_separation",
        "pooled",
    }
)
"""The evidence that is measured here."""

Sums = dict[str, Tensor]
"""One batch, float64 on the CPU. ``count`` [] values per input (images × positions) and ``images`` []; as wanted,
per input: ``absolute`` Σ|a|, ``active`` how many are not zero, ``mean`` and ``squares`` Σ(a − mean)², ``rank`` the
sum over images of the maps' ranks. Per channel and a last one that is constantly one: ``products`` ``[C+1, C+1]`` over
positions; of the maps' means ``pooled_products`` ``[C+1, C+1]``, ``class_sums`` ``[classes, C+1]``. ``pooled``
``[B, C]``: the maps' means.
"""


def measure(x: Tensor, axis: int, blocks: int, labels: Tensor, classes: int, wanted: frozenset[str]) -> Sums:
    """Measure ``x``, whose inputs lie along ``axis``; ``blocks`` inputs side by side are the pixels of one channel."""
    others = [d for d in range(x.dim()) if d != axis]
    count = x.numel() // x.shape[axis]
    found: Sums = {"count": _double(torch.tensor(count)), "images": _double(torch.tensor(len(x)))}
    if "activation_mean" in wanted:
        found["absolute"] = _double(x.abs().mean(dim=others)) * count
    if "active_fraction" in wanted:
        # Booleans are summed slowly; a batch's ones of float32 are exact up to 2²⁴ positions.
        found["active"] = _double(torch.ne(x, 0, out=torch.empty_like(x)).mean(dim=others)).mul_(count).round_()
    if "activation_variance" in wanted:
        mean = x.mean(dim=others, keepdim=True)
        found["mean"], found["squares"] = _double(mean.flatten()), _double((x - mean).square_().sum(dim=others))
    if "map_rank" in wanted:
        found["rank"] = _ranks(x, axis)
    if wanted & {"conditional_variance", "class_separation", "pooled"}:
        maps = _maps(x, axis, blocks)
        if "conditional_variance" in wanted:
            found["products"] = _products(maps)
        pooled = maps.mean(dim=2).double()
        if "pooled" in wanted:
            found["pooled"] = pooled.cpu()
        if "class_separation" in wanted:
            found["pooled_products"] = _products(pooled[:, :, None])
            ones = torch.cat([pooled, pooled.new_ones(len(pooled), 1)], dim=1)
            found["class_sums"] = _double(F.one_hot(labels.to(x.device), classes).double().T @ ones)
    return found


def merge(a: Sums, b: Sums) -> Sums:
    """Both together. Variances after Chan, Golub and LeVeque (1979): nothing cancels, whatever the mean."""
    merged = {}
    for name in a:
        if name == "pooled":
            merged[name] = torch.cat([a[name], b[name]])
        elif name == "mean":
            merged[name] = a[name] + (b[name] - a[name]) * (b["count"] / (a["count"] + b["count"]))
        else:
            merged[name] = b[name] + a[name]
    if "squares" in a:
        weight = a["count"] * b["count"] / (a["count"] + b["count"])
        merged["squares"] += (b["mean"] - a["mean"]).square() * weight
    return merged


def covariance(products: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance ``[C, C]`` and mean ``[C]`` from sums of products with a constant one in the last row and column."""
    count = products[-1, -1]
    mean = products[-1, :-1] / count
    return products[:-1, :-1] / count - torch.outer(mean, mean), mean


def _double(x: Tensor) -> Tensor:
    return x.to("cpu", torch.float64)


def _maps(x: Tensor, axis: int, blocks: int) -> Tensor:
    """``[B, channels, positions]``."""
    maps = x.movedim(axis, 1).flatten(2) if x.dim() > 2 else x[:, :, None]
    return maps.reshape(len(x), maps.shape[1] // blocks, -1) if blocks > 1 else maps


def _ranks(x: Tensor, axis: int) -> Tensor:
    if x.dim() == 4 and axis == 1:
        return _double(torch.linalg.matrix_rank(x).sum(dim=0))
    return _double((_maps(x, axis, 1) != 0).any(dim=2).sum(dim=0))


def _products(maps: Tensor) -> Tensor:
    rows = maps.transpose(0, 1).double().reshape(maps.shape[1], -1)
    rows = torch.cat([rows, rows.new_ones(1, rows.shape[1])])
    return _double(rows @ rows.T)
