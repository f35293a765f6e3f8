"""Writes the report into a folder, each file whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from search.complexity.page import build_page
from search.complexity.plots import draw_plots
from search.complexity.report import ComplexityReport
from workers.atomic import replacing


def write_complexity(report: ComplexityReport, folder: Path) -> Path:
    """Write ``complexity.json``, the PNG files and ``complexity.html`` into ``folder``, which is made.

    Returns:
        The path of ``complexity.html``, which is written last.
    """
    plots = draw_plots(report)
    text = json.dumps(report.to_json(), indent=1, allow_nan=False, ensure_ascii=False)
    page = folder / "complexity.html"
    files = {"complexity.json": (text + "\n").encode(), **plots, page.name: build_page(report, plots).encode()}
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return page


def folder_name(source: str) -> str:
    """``complexity-NAME`` for a data set, after its last path component without suffix."""
    stem = Path(source).expanduser().resolve().name.removesuffix(".parquet")
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in stem)[:80]
    return f"complexity-{kept or 'data'}"
