"""Parts of a page without script: style and pictures inlined, no request to anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from search.report.markup import Child, Markup, join, tag
from search.report.style import style_sheet

_POLICY = "default-src 'none';style-src 'unsafe-inline';img-src data:"
_FIGURES = "figure img{display:block;max-width:100%;height:auto;border-radius:6px;background:#fff}"


def document(title: str, body: Markup, style: str = "") -> str:
    """The whole page around ``body``; ``style`` is added to the style sheet of all pages."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        tag("style", Markup(style_sheet() + _FIGURES + style)),
    )
    return join(Markup("<!doctype html>"), tag("html", head, body, lang="en"))


def section(title: str, *children: Child) -> Markup:
    """A titled part of the page."""
    return tag("section", tag("h2", title), *children)


def sentence(line: str) -> str:
    """``line`` with a capital letter first and a full stop."""
    return f"{line[:1].upper()}{line[1:].rstrip('.')}."


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1, text_last: bool = False
) -> Markup:
    """Rows of text under ``heads``; the first ``text_columns`` and, with ``text_last``, the last are set left."""

    def kind(column: int) -> str | None:
        if text_last and column == len(heads) - 1:
            return "t wide"
        return "t" if column < text_columns else None

    def row(cells: Sequence[str]) -> Markup:
        first, *rest = cells
        others = [tag("td", cell, class_=kind(i), data_label=heads[i]) for i, cell in enumerate(rest, start=1)]
        return tag("tr", tag("th", first, scope="row"), *others)

    cards = "cards" if text_last else None
    head = tag("tr", *[tag("th", name, scope="col", class_=kind(i)) for i, name in enumerate(heads)])
    return tag("table", tag("thead", head), tag("tbody", *[row(cells) for cells in rows]), class_=cards)


def figure(png: bytes, title: str, caption: str) -> Markup:
    """A picture, inlined, between its title and its caption."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return tag("figure", tag("h3", title), Markup(f'<img src="{source}" alt="{title}">'), tag("figcaption", caption))
