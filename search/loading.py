"""From text to a configuration: YAML, ``--set a.b=c``, and refusals that name the field and the mend."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from search.config import SearchConfig


class ConfigError(ValueError):
    """The configuration cannot be used: each line of the message names a field, what is wrong, and the mend."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> SearchConfig:
    """The configuration in ``path`` with ``a.b=value`` overrides applied (values are YAML).

    Raises:
        ConfigError: no such file, not YAML, an unknown key, or a value out of bounds.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give the path of a YAML configuration") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold settings as `key: value` lines, found {type(content).__name__}")
    return parse_overrides(content, overrides, str(path))


def parse_overrides(content: dict[str, Any], overrides: Sequence[str], where: str = "configuration") -> SearchConfig:
    """Validate plain settings with ``a.b=value`` overrides applied.

    Raises:
        ConfigError: every fault, one a line.
    """
    for text in overrides:
        _override(content, text)
    return parse_config(content, where)


def override(config: SearchConfig, overrides: Sequence[str]) -> SearchConfig:
    """A copy of ``config`` with ``a.b=value`` overrides applied.

    Raises:
        ConfigError: every fault, one a line.
    """
    return parse_overrides(config.model_dump(mode="json"), overrides) if overrides else config


def parse_config(content: dict[str, Any], where: str = "configuration") -> SearchConfig:
    """Validate plain settings.

    Raises:
        ConfigError: every fault, one a line.
    """
    try:
        return SearchConfig.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(fault) for fault in error.errors())
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from None


def dump_config(config: SearchConfig) -> str:
    """The complete configuration as YAML, enough to run again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not all(name.split(".")):
        raise ConfigError(f"--set {override}: must look like search.probes=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from None
    *path, last = name.split(".")
    place = content
    for part in path:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {part!r} is a value, not a section")
        place = inner
    place[last] = value


def _explain(fault: ErrorDetails) -> str:
    path = [str(part) for part in fault["loc"] if not str(part).startswith("function-")]
    name = ".".join(path) or "configuration"
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting; {_nearest(path)}"
    if fault["type"] == "missing":
        return f"{name}: is required"
    message = fault["msg"].removeprefix("Value error, ")
    if message.startswith(tuple(f"{part}." for part in SearchConfig.model_fields)):
        return message
    shown = repr(fault["input"])
    return f"{name}: {message[:1].lower()}{message[1:]}" + (f", got {shown[:60]}" if len(shown) < 200 else "")


def _nearest(path: Sequence[str]) -> str:
    model: type[BaseModel] | None = SearchConfig
    for part in path[:-1]:
        model = _section(model.model_fields[part].annotation) if model and part in model.model_fields else None
    known = list(model.model_fields) if model else []
    near = difflib.get_close_matches(path[-1], known, n=1)
    if near:
        return f"did you mean {'.'.join([*path[:-1], near[0]])}?"
    elsewhere = [
        f"{section}.{path[-1]}"
        for section, field in SearchConfig.model_fields.items()
        if (inner := _section(field.annotation)) and path[-1] in inner.model_fields
    ]
    return f"did you mean {elsewhere[0]}?" if elsewhere else f"known here: {', '.join(known)}"


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next((s for a in typing.get_args(annotation) if (s := _section(a))), None)
    return None
