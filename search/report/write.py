"""Writes a run's report into its folder, each file whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from search.report.measurements import Finals
from search.report.page import build_page
from search.report.plots import draw_plots
from workers.atomic import replacing

MEASUREMENTS = "measurements.json"


def write_report(table: pa.Table, finals: Finals, folder: Path) -> Path:
    """Write ``measurements.json``, the PNG files and ``report.html`` into ``folder`` (``runs/NAME/report``).

    Args:
        table: the run's archive, of ``search.schema.SCHEMA``.
        finals: the final measurements.
        folder: made if it does not exist; files of the same names are replaced.

    Returns:
        The path of ``report.html``, which is written last.
    """
    text = json.dumps(finals.to_json(), indent=1, allow_nan=False, ensure_ascii=False)
    _replace(folder / MEASUREMENTS, (text + "\n").encode())
    for name, content in draw_plots(table, finals).items():
        _replace(folder / name, content)
    page = folder / "report.html"
    _replace(page, build_page(table, finals, folder.parent).encode())
    return page


def read_finals(folder: Path) -> Finals:
    """The measurements of a report folder.

    Raises:
        ValueError: there are none, or they cannot be read; the message names the file.
    """
    path = folder / MEASUREMENTS
    try:
        return Finals.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: the run has not been finished; resume it first") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _replace(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
