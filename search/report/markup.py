"""HTML that is escaped by construction: a plain ``str`` is always text, only :class:`Markup` is markup."""

from __future__ import annotations

import html
from typing import Any


class Markup(str):
    """A piece of finished HTML."""

    __slots__ = ()


Child = str | Markup | None


def tag(name: str, *children: Child, **attributes: str | int | None) -> Markup:
    """``<name …>children</name>``; attributes: ``class_`` for class, ``data_x`` for data-x, None leaves one out."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{pairs}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Pieces one after the other, text escaped."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c) for c in children if c is not None))


def text(value: Any) -> str:
    """Data as text for a place that reads HTML entities but is not HTML, as Plotly's labels are."""
    return html.escape(str(value), quote=False)
