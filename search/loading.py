"""From text to a configuration: YAML, ``--set a.b=c``, and refusals that name the field and the mend."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from search.config import SearchConfig
from search.tracking_store import without_credentials


class ConfigError(ValueError):
    """The configuration cannot be used: each line of the message names a field, what is wrong, and the mend."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> SearchConfig:
    """The configuration in ``path`` with ``a.b=value`` overrides applied (values are YAML).

    Raises:
        ConfigError: no such file, not YAML, an unknown key, or a value out of bounds.
    """
    return parse_overrides(read_settings(path), overrides, str(path))


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, not validated yet.

    Raises:
        ConfigError: no such file, not YAML, a key that stands twice, or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8; give the path of a YAML configuration") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}); give the path of a YAML configuration") from None
    content = _parse_yaml(text, str(path))
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise ConfigError(f"{path}: must hold settings as `key: value` lines, found {found}; see examples/digits.yaml")
    return content


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
        # A list whose entries are refused counts as too short as well, which says nothing more.
        faults = [fault for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]]
        lines = dict.fromkeys(_explain(fault) for fault in faults)
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from None


def dump_config(config: SearchConfig) -> str:
    """The complete configuration as YAML, enough to run again where the environment holds MLflow's credentials."""
    content = config.model_dump(mode="json")
    if config.tracking.uri is not None:
        content["tracking"]["uri"] = without_credentials(config.tracking.uri)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _override(content: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not all(name.split(".")):
        raise ConfigError(f"--set {override}: must look like search.probes=100, a setting's name and its value")
    value = _parse_yaml(text, f"--set {override}")
    *path, last = name.split(".")
    place = content
    for part in path:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {part!r} is a value, not a section")
        place = inner
    place[last] = value


class _StrictLoader(yaml.SafeLoader):
    """YAML's plain values; a key that stands twice is refused, where YAML itself would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key_node.value!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{where}: not usable as YAML{place}: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not usable as YAML: {' '.join(str(error).split())}") from None


_SAID = {
    "model_type": "must be a section of `setting: value` lines",
    "dict_type": "must be a section of `name: value` lines",
    "tuple_type": "must be a list",
    "string_type": "must be text (in quotes where YAML takes it for something else)",
    "path_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
    "string_pattern_mismatch": "must be letters, digits, '.', '_' and '-', and begin with a letter or digit",
    "invalid_key": "names of settings must be text",
}
"""What pydantic's kinds of faults are called here; other kinds keep its words."""


def _explain(fault: ErrorDetails) -> str:
    path = [str(part) for part in fault["loc"] if not str(part).startswith("function-") and part != "[key]"]
    name = ".".join(path) or "configuration"
    if fault["type"] == "extra_forbidden":
        return f"{name}: no such setting; {_nearest(path)}"
    if fault["type"] == "missing":
        return f"{name}: is required"
    message = _SAID.get(fault["type"]) or fault["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if message.startswith(tuple(f"{part}." for part in SearchConfig.model_fields)):
        return message
    shown = repr(fault["input"])
    found = f", got {shown[:60]}" if len(shown) < 200 and ", got " not in message else ""
    return f"{name}: {message[:1].lower()}{message[1:]}{found}{_nearest_choice(fault)}"


def _nearest_choice(fault: ErrorDetails) -> str:
    if fault["type"] != "literal_error":
        return ""
    choices = re.findall(r"'([^']+)'", str(fault.get("ctx", {}).get("expected", "")))
    near = difflib.get_close_matches(str(fault["input"]), choices, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""


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
