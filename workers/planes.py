"""A faster forward pass of narrow networks on a CPU: the same functions, computed on channel planes.

oneDNN builds a kernel for every new shape of a convolution, which costs more than the convolution itself where there
are few channels; and every probed network has new shapes. Here tensors are laid out channel by channel, the
images of the batch innermost. Then a 1×1 convolution is one matrix product, a 3×3 convolution three of them, batch-norm
statistics are sums of rows, and pooling takes maxima of long runs. Nothing is chosen by timing, so the same network
gives the same bits in every process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from workers.batches import Tensors

LARGEST = 1 << 25
"""Most numbers (128 MB) in a convolution's input columns; above, the convolution is left to oneDNN."""

FAN_IN = 100
"""Most weights per output channel, on average over a network: above, oneDNN's kernels win although they are made anew.

Measured on Inception networks of 8 to 128 channels and images of 8 to 32 pixels, 256 at a time.
"""


def fast_forward(network: nn.Module, images: Tensors) -> contextlib.AbstractContextManager[object]:
    """:class:`Planes` where they make ``network`` faster: few channels, plain convolutions, on a CPU; else nothing."""
    # A network that wants contiguous channels flattens images in a way that planes would break as well.
    free = images.labels.device.type == "cpu" and images.memory_format == torch.channels_last
    return Planes() if free and _suits(network) else contextlib.nullcontext()


def _suits(network: nn.Module) -> bool:
    weights = outputs = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if module.groups > 1 or module.stride != (1, 1) or module.dilation != (1, 1):
                return False
            weights += module.weight.numel()
            outputs += module.out_channels
    return 0 < weights <= FAN_IN * outputs


class _Seen(NamedTuple):
    """A batch norm's statistics of one batch; ``scale`` is 1 / √(biased variance + eps)."""

    running_mean: Tensor
    running_var: Tensor
    mean: Tensor
    scale: Tensor
    values: int
    momentum: float
    eps: float


class Planes(TorchFunctionMode):
    """While active, convolutions, batch norms, pooling and concatenation of float32 images on a CPU run on planes.

    What they return has the usual shape ``[N, C, H, W]``, with other strides; any other function takes it as it is.
    For inference: no gradients flow, weights must not change while it is active, and batch norms in training mode
    update their running statistics when it ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._matrices: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}
        self._seen: list[_Seen] = []

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._matrices.clear()
        self._update_statistics()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        faster = _FASTER.get(func)
        result = faster(self, *args, **kwargs) if faster is not None else None
        return func(*args, **kwargs) if result is None else result

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        outputs, inputs, rows, columns = weight.shape
        if (
            input.dim() != 4
            or groups != 1
            or rows % 2 * columns % 2 == 0
            or _pair(stride) != (1, 1)
            or _pair(dilation) != (1, 1)
            or (padding != "same" and _pair(padding) != (rows // 2, columns // 2))
            or input.numel() * columns > LARGEST
            or input.dtype != torch.float32
            or input.device.type != "cpu"
        ):
            return None
        planes = input.permute(1, 2, 3, 0).contiguous()
        _, height, width, count = planes.shape
        flat = (planes if rows == columns == 1 else _shifted(planes, rows, columns)).view(columns * inputs, -1)
        step = width * count
        size = height * step
        first, *others = self._kernel_rows(weight)
        if others:
            out = torch.mm(first, flat.narrow(1, 0, size))
            for row, matrix in enumerate(others, 1):
                out.addmm_(matrix, flat.narrow(1, row * step, size))
        else:
            out = torch.mm(first, flat)
        if bias is not None:
            out += bias[:, None]
        return _images(out.view(outputs, height, width, count))

    def _kernel_rows(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Per kernel row, the matrix ``[outputs, columns · inputs]``; made once per weight."""
        # The weight is kept with its matrices: as long as it lives, nobody else has its id.
        known = self._matrices.get(id(weight))
        if known is None:
            rows = weight.permute(2, 0, 3, 1).reshape(weight.shape[2], len(weight), -1).unbind()
            known = self._matrices[id(weight)] = (weight, rows)
        return known[1]

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        planes = _planes(input)
        if planes is None:
            return None
        channels = len(planes)
        flat = planes.view(1, channels, -1)
        count = flat.shape[2]
        if not training:
            out = F.batch_norm(flat, running_mean, running_var, weight, bias, False, momentum, eps)
        elif count < 2:
            return None
        else:
            # A row is a channel of the whole batch: to normalise groups of one row is batch norm, in one pass.
            out, mean, scale = torch.native_group_norm(flat, weight, bias, 1, channels, count, channels, eps)
            if running_mean is not None and running_var is not None:
                self._seen.append(_Seen(running_mean, running_var, mean.view(-1), scale.view(-1), count, momentum, eps))
        return _images(out.view(planes.shape))

    def _update_statistics(self) -> None:
        """Bring running statistics up to date: once at the end, since dozens of tiny operations cost more each time."""
        seen, self._seen = self._seen, []
        if not seen:
            return
        sizes = torch.tensor([len(s.mean) for s in seen])
        eps, unbiased = (
            torch.tensor(values, dtype=torch.float32).repeat_interleave(sizes)
            for values in ([s.eps for s in seen], [s.values / (s.values - 1) for s in seen])
        )
        variances = torch.cat([s.scale for s in seen]).pow_(-2).sub_(eps).clamp_min_(0).mul_(unbiased)
        for s, variance in zip(seen, torch.split(variances, sizes.tolist()), strict=True):  # type: ignore[no-untyped-call]
            s.running_mean.lerp_(s.mean, s.momentum)
            s.running_var.lerp_(variance, s.momentum)

    def _max_pool2d(
        self,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor | None:
        planes = _planes(input)
        if planes is None or ceil_mode or return_indices or _pair(dilation) != (1, 1):
            return None
        kernel, margin = _pair(kernel_size), _pair(padding)
        steps = _pair(stride) if stride else kernel
        # At every position one tap, the one at the margin, must lie within the image.
        if 2 * margin[0] >= kernel[0] or 2 * margin[1] >= kernel[1]:
            return None
        if any(size + 2 * m < k for size, m, k in zip(planes.shape[1:3], margin, kernel, strict=True)):
            return None
        planes = _max_along(planes, 1, kernel[0], steps[0], margin[0])
        return _images(_max_along(planes, 2, kernel[1], steps[1], margin[1]))

    def _cat(self, tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor | None:
        if dim != 1 or out is not None:
            return None
        planes = [p for t in tensors if (p := _planes(t)) is not None]
        return _images(torch.cat(planes)) if len(planes) == len(tensors) else None


def _planes(x: Tensor) -> Tensor | None:
    """``x`` seen as contiguous ``[C, H, W, N]``, or None where it is laid out otherwise."""
    if x.dim() != 4 or x.dtype != torch.float32 or x.device.type != "cpu":
        return None
    planes = x.permute(1, 2, 3, 0)
    return planes if planes.is_contiguous() else None


def _images(planes: Tensor) -> Tensor:
    return planes.permute(3, 0, 1, 2)


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[-1]) if isinstance(value, tuple | list) else (value, value)


def _shifted(planes: Tensor, rows: int, columns: int) -> Tensor:
    """``[columns, C, H + rows − 1, W, N]``: padded planes as each kernel column sees them."""
    _, _, width, count = planes.shape
    padded = F.pad(planes, (0, 0, columns // 2, columns // 2, rows // 2, rows // 2))
    channels, height, _, _ = padded.shape
    return padded.as_strided((columns, channels, height, width, count), (count, *padded.stride())).contiguous()


def _max_along(planes: Tensor, dimension: int, kernel: int, step: int, margin: int) -> Tensor:
    """Maxima of windows along one dimension, padded by ``margin`` < kernel / 2 on both sides."""
    size = planes.shape[dimension]
    count = (size + 2 * margin - kernel) // step + 1
    every = [slice(None)] * dimension
    out = planes[(*every, slice(0, (count - 1) * step + 1, step))].clone(memory_format=torch.contiguous_format)
    for offset in range(-margin, kernel - margin):
        # Windows low … high - 1 have a pixel at this offset.
        low, high = max(0, -(offset // step)), min(count, (size - 1 - offset) // step + 1)
        if offset and low < high:
            pixels = slice(low * step + offset, (high - 1) * step + offset + 1, step)
            part = out.narrow(dimension, low, high - low)
            torch.maximum(part, planes[(*every, pixels)], out=part)
    return out


_FASTER: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.conv2d: Planes._conv2d,
    F.batch_norm: Planes._batch_norm,
    F.relu: lambda _, input, inplace=False: torch.relu_(input) if inplace else torch.relu(input),
    F.max_pool2d: Planes._max_pool2d,
    torch.max_pool2d: Planes._max_pool2d,
    torch.cat: Planes._cat,
}
