"""The report's colours: told apart by colour-blind readers, in a light and a dark edition with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "paper": "#fcfcfa",
    "panel": "#f3f5f1",
    "rule": "#dfe4de",
    "ink": "#1c2422",
    "quiet": "#5a6663",
    "faint": "#a9b3af",
    "validation": "#5aa7d6",
    "test": "#0064a4",
    "chosen": "#d25900",
    "control": "#87489b",
}
DARK: Final[Mapping[str, str]] = {
    "paper": "#141918",
    "panel": "#1c2322",
    "rule": "#2f3937",
    "ink": "#e6ebe8",
    "quiet": "#9daba6",
    "faint": "#5f6d69",
    "validation": "#3c7fab",
    "test": "#69b7f0",
    "chosen": "#ff9c4a",
    "control": "#cf9ae2",
}
"""Each colour of :data:`LIGHT` on a dark page. Figures are drawn in light colours; the page translates them."""


def css() -> str:
    """Both editions as custom properties: ``var(--ink)``."""
    light = "".join(f"--{name}:{colour};" for name, colour in LIGHT.items())
    dark = "".join(f"--{name}:{colour};" for name, colour in DARK.items())
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
