"""A network run as a pure function: on other weights than its own, with other batch norms, its activations watched.

All proxies run networks through here, so that none has anything to put back. Functions are caught where they are
called, not modules where they are hooked: ``F.relu`` in a forward pass is seen as well as ``nn.ReLU``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Norm = Callable[[Tensor, Tensor | None, Tensor | None, float], Tensor]
"""``norm(x, weight, bias, eps)`` stands in for all batch norms of a network."""

_RECTIFIERS: tuple[Callable[..., Any], ...] = (
    *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    *(F.relu6, F.hardtanh, F.leaky_relu, F.prelu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.hardswish),
)

ACTIVATIONS = frozenset(_RECTIFIERS)
"""Rectifiers, hard and soft: what they do depends on the sign of their input. ``nn.ReLU6`` is a hard tanh."""

_OTHER_NORMS: frozenset[Callable[..., Any]] = frozenset([F.layer_norm, F.group_norm, F.instance_norm])


def by_batch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Batch norm as in training, whatever the running statistics: surgery has made those stale."""
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def run(
    network: nn.Module,
    images: Tensor,
    norm: Norm | None = by_batch,
    tensors: Mapping[str, Tensor] | None = None,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Output of ``network`` in eval mode, its batch norms replaced by ``norm``.

    Args:
        norm: if None, normalisation of any kind is off.
        tensors: stand in for the parameters and buffers of these names during this call.
        watch: is shown the input of every function in :data:`ACTIVATIONS`, in order.
    """
    given = dict(tensors or {})
    # Some modules count or average in their buffers in eval mode too.
    buffers = {name: buffer.detach().clone() for name, buffer in network.named_buffers() if name not in given}
    with evaluating(network), _Caught(norm, watch):
        out: Tensor = functional_call(network, {**buffers, **given}, (images,))
    return out


def copies(network: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Clones of all parameters and buffers by name, fit for gradients even where the originals are inference tensors.

    Floating-point ones are converted to ``dtype``, where it is given.
    """
    named = [*network.named_parameters(), *network.named_buffers()]
    return {
        name: tensor.detach().to(dtype if tensor.is_floating_point() else None, copy=True) for name, tensor in named
    }


def weight_names(network: nn.Module) -> list[str]:
    """Names of the weights of all convolutions and linear layers; a shared weight once.

    Raises:
        ValueError: there are none.
    """
    own = dict(network.named_parameters())
    names = [
        name
        for prefix, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and (name := f"{prefix}.weight".lstrip(".")) in own
    ]
    if not names:
        raise ValueError(
            f"{type(network).__name__} has no weights in nn.Conv2d or nn.Linear layers, which proxies score; "
            "build it from these, without parametrizations"
        )
    return names


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """``network`` in eval mode; every module's own mode comes back."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _Caught(TorchFunctionMode):
    def __init__(self, norm: Norm | None, watch: Callable[[Tensor], None] | None) -> None:
        super().__init__()
        self._norm = norm
        self._watch = watch

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._norm is None and (func is F.batch_norm or func in _OTHER_NORMS):
            # A clone: a ReLU in place behind it must not write into what other layers read.
            x: Tensor = args[0] if args else kwargs["input"]
            return x.clone()
        if self._norm is not None and func is F.batch_norm:
            return _batch_norm(self._norm, *args, **kwargs)
        if self._watch is not None and func in ACTIVATIONS:
            self._watch(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)


def _batch_norm(
    norm: Norm,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    return norm(input, weight, bias, eps)
