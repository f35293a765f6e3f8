"""The user's own network: ``package.module:factory``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn


def build_from_factory(
    name: str, shape: tuple[int, int, int], classes: int, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Call the factory ``package.module:function`` and return its network.

    The factory is called with ``arguments``; where its signature names ``shape`` or ``classes`` these are passed too.
    The working directory is importable.

    Raises:
        ValueError: the module or function is not found, it fails, or it returns something else than a module.
    """
    factory = load_object(name, "network.name")
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # some callables that are not written in Python have none
        parameters = MappingProxyType({})
    offered = {"shape": shape, "classes": classes}
    known = {k: v for k, v in offered.items() if k in parameters}
    try:
        network = factory(**known, **(arguments or {}))
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"network.name: factory {name!r} raised {_in_short(error)}; mend it, or its network.arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network.name: factory {name!r} returned {type(network).__name__}, not a torch.nn.Module")
    return network


def load_object(name: str, field: str) -> Callable[..., Any]:
    """The callable that ``package.module:attribute`` names.

    Raises:
        ValueError: says, with ``field``, which part of the name cannot be found.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the module's own code runs here
        raise ValueError(
            f"{field}: cannot import {module_name!r} ({_in_short(error)}); name it as "
            "package.module:attribute, run from its folder or install its package"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ValueError(f"{field}: {module_name!r} has no callable {attribute!r}")
    return found  # type: ignore[no-any-return]


def _in_short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
