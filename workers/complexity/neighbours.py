"""The nearest points of some points, exactly, without ever holding all distances.

A matrix product tells distances fast but loses digits where points lie close to one another; here it only proposes
candidates. Their distances are then taken from differences in float64, and a bound on the product's rounding proves
that no other point could be nearer. Where it cannot, the product is repeated in float64, and at last all differences
are taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK_BYTES = 48 * 2**20
_SPARE = 16
# Below this, relative to the greatest coordinate, squares underflow in float32.
_TINY = 1e-30
# Below this, squares of differences underflow in float64, and what they leave are ties.
_LEAST_SCALE = 1e-140
# With more dimensions the worst-case rounding of a float32 product is too coarse to prove anything.
_FLOAT32_DIMENSIONS = 4096


def nearest(points: Tensor, chosen: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` nearest points to each chosen point, which is its own neighbour: int64 ``[S, count]``.

    The order is that of a stable sort of ``(points - x).square().sum(1)`` in float64: ties go to the lower index.
    Memory beyond ``points`` is one float32 copy of them and some 100 MB; a float64 copy where points are crowded.

    Args:
        points: floating ``[N, D]``, finite, magnitudes below 1e150.
        chosen: int64 ``[S]``, indices of points.
        count: in ``1 … N``.
    """
    found = torch.empty(len(chosen), count, dtype=torch.int64, device=points.device)
    open_rows = torch.arange(len(chosen), device=points.device)
    width = count + _SPARE
    if width < len(points):
        for dtype in _dtypes(points):
            open_rows = _propose(points, chosen, found, open_rows, width, dtype)
            if not len(open_rows):
                return found
    _compare_all(points, chosen, found, open_rows)
    return found


def neighbour_error(points: Tensor, labels: Tensor) -> float:
    """Leave-one-out error in [0, 1] of the 1-nearest-neighbour rule on ``[N, D]``: the baseline of any such figure."""
    own = torch.arange(len(points), device=points.device)
    closest = nearest(points, own, 2)
    # Of duplicates, another may stand first.
    other = torch.where(closest[:, 0] == own, closest[:, 1], closest[:, 0])
    return float((labels[other] != labels).double().mean())


def _dtypes(points: Tensor) -> Iterator[torch.dtype]:
    # Reduced-precision products (TF32, bfloat16) would break the bound.
    exact_float32 = points.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
    if exact_float32 and points.shape[1] <= _FLOAT32_DIMENSIONS:
        yield torch.float32
    yield torch.float64


def _propose(
    points: Tensor, chosen: Tensor, found: Tensor, open_rows: Tensor, width: int, dtype: torch.dtype
) -> Tensor:
    """Fill the rows of ``found`` that a product in ``dtype`` decides; return the others."""
    count = found.shape[1]
    centred, scale = _centred(points, dtype)
    if scale < _LEAST_SCALE:
        return open_rows
    squares = torch.cat([part.double().square().sum(1) for part in torch.split(centred, _rows(8 * centred.shape[1]))])
    # With u = eps/2, rounding moves |q|² + |x|² - 2 q·x by less than (D + 8) u (|q|² + |x|²).
    slack = (points.shape[1] + 8) * torch.finfo(dtype).eps
    raised = ((1 - slack) * squares).to(dtype)
    undecided = []
    for rows in torch.split(open_rows, _rows(max(centred.element_size() * len(points), 8 * width * points.shape[1]))):
        queries = chosen[rows]
        lower = torch.addmm(raised, centred[queries], centred.T, alpha=-2)
        bounds, candidates = lower.topk(width, dim=1, largest=False)
        del lower
        # In order of index, so that a stable sort breaks ties by it.
        candidates = candidates.sort(dim=1).values
        differences = points[candidates].double() - points[queries].double()[:, None]
        distances, order = differences.square().sum(2).sort(dim=1, stable=True)
        found[rows] = candidates.gather(1, order[:, :count])
        outside = bounds[:, -1].double() + (1 - slack) * squares[queries] - _TINY
        undecided.append(rows[distances[:, count - 1] / scale**2 >= outside])
    return torch.cat(undecided)


def _centred(points: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """The points about their mean, the greatest coordinate 1, and what they were divided by."""
    mean = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    parts = torch.split(points, _rows(8 * points.shape[1]))
    for part in parts:
        mean += part.double().sum(0) / len(points)
    scale = max(float((part.double() - mean).abs().amax()) for part in parts) or 1.0
    centred = torch.empty(points.shape, dtype=dtype, device=points.device)
    for part, out in zip(parts, torch.split(centred, _rows(8 * points.shape[1])), strict=True):
        out.copy_((part.double() - mean) / scale)
    return centred, scale


def _compare_all(points: Tensor, chosen: Tensor, found: Tensor, open_rows: Tensor) -> None:
    """Fill the given rows of ``found`` from the differences to every point."""
    parts = torch.split(points, _rows(8 * points.shape[1]))
    per_query = 8 * max(len(points), points.shape[1] * len(parts[0]))
    for rows in torch.split(open_rows, _rows(per_query)):
        queries = points[chosen[rows]].double()[:, None]
        distances = torch.cat([(part.double() - queries).square().sum(2) for part in parts], dim=1)
        found[rows] = distances.argsort(dim=1, stable=True)[:, : found.shape[1]]


def _rows(bytes_per_row: int) -> int:
    return max(1, _BLOCK_BYTES // max(1, bytes_per_row))
