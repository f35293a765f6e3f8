"""The reference of all settings, from the models themselves: `python -m search.reference > docs/configuration.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from search.config import Bound, SearchConfig

HEAD = """# Configuration

Every setting of a run, with its default. Sections nest in YAML as their names do; on the command line
`--set section.setting=value` overrides one. Unknown names are refused, with the nearest one that exists.
"""


def reference() -> str:
    """The reference as Markdown: one table a section, in the order of the models."""
    fields = SearchConfig.model_fields
    top = {name: field for name, field in fields.items() if not _is_section(field)}
    parts = [HEAD, _table(top)]
    for name, field in fields.items():
        if _is_section(field):
            section: type[BaseModel] = field.annotation  # type: ignore[assignment]
            parts.append(f"## {name}\n\n{' '.join((section.__doc__ or '').split())}\n\n{_table(section.model_fields)}")
    return "\n".join(parts)


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = ["| setting | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        values = "number, share or percentage" if _is_bound(field) else _values(field.annotation)
        rows.append(f"| `{name}` | {values} | {_default(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _is_bound(field: FieldInfo) -> bool:
    return any(get_args(Bound)[1] in getattr(part, "__metadata__", ()) for part in get_args(field.annotation))


def _values(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_values(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "mapping"
    inner = [a for a in get_args(annotation) if a is not type(None)]
    if inner:
        return " or ".join(_values(a) for a in inner)
    names = {int: "whole number", float: "number", bool: "`true`, `false`", str: "text", Path: "path"}
    return names[annotation]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    print(reference(), end="")
