"""Base networks by name: our Inception family, torchvision's classifiers, or the user's own factory."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from spaces.networks.factory import build_from_factory
from spaces.networks.inception import build_inception
from spaces.networks.vision import build_torchvision, torchvision_names

BUILDERS: dict[str, Callable[..., nn.Module]] = {"inception": build_inception}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to build a base network again, anywhere: plain values only.

    Attributes:
        name: ``inception``, a torchvision classification CNN, or ``package.module:factory``.
        shape: images as ``(channels, height, width)``.
        classes: number of outputs.
        arguments: keyword arguments for the builder.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


def build_network(spec: NetworkSpec, generator: torch.Generator | None = None) -> nn.Module:
    """The untrained network of ``spec``, in eval mode, its weights drawn from ``generator`` alone.

    Raises:
        ValueError: unknown name (the nearest is proposed), or arguments that the builder refuses.
    """
    with torch.random.fork_rng(devices=[]):
        # Layers draw their first weights from torch's global generator: it is set here and put back after.
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)) if generator is not None else 0)
        if ":" in spec.name:
            network = build_from_factory(spec.name, spec.shape, spec.classes, spec.arguments)
        elif spec.name in BUILDERS:
            network = _build(spec)
        elif spec.name in torchvision_names():
            network = build_torchvision(spec.name, spec.shape, spec.classes, spec.arguments)
        else:
            raise ValueError(_unknown(spec.name))
    return network.eval()


def check_name(name: str) -> None:
    """Raises ValueError where no network has this name; a factory's is not looked up."""
    if ":" not in name and name not in BUILDERS and name not in torchvision_names():
        raise ValueError(_unknown(name))


def _build(spec: NetworkSpec) -> nn.Module:
    try:
        return BUILDERS[spec.name](shape=spec.shape, classes=spec.classes, **spec.arguments)
    except ValueError:
        raise
    except Exception as error:  # torch raises RuntimeError for sizes that it cannot allocate
        raise ValueError(
            f"network.arguments: {spec.name} refuses {dict(spec.arguments)!r}: {' '.join(str(error).split())[:200]}"
        ) from error


def _unknown(name: str) -> str:
    known = [*BUILDERS, *torchvision_names()]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:12])}, … or package.module:factory"
    return f"network.name: no network is called {name!r}; {hint}"
