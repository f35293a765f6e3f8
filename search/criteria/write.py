"""Writes the report into a folder, each file whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from search.complexity.write import folder_name as data_folder
from search.criteria.page import build_page
from search.criteria.plots import draw_plots
from search.criteria.report import CriteriaReport
from search.loading import ConfigError
from workers.atomic import replacing

WEIGHTS = "base.safetensors"


def write_criteria(report: CriteriaReport, weights: bytes, folder: Path) -> Path:
    """Write ``criteria.json``, the base network's weights, the PNG files and ``criteria.html`` into ``folder``.

    Args:
        weights: content of a safetensors file, which ``network.weights`` can name the next time.
        folder: made if it does not exist; files of the same names are replaced.

    Returns:
        The path of ``criteria.html``, which is written last.
    """
    plots = draw_plots(report)
    text = json.dumps(report.to_json(), indent=1, allow_nan=False, ensure_ascii=False)
    page = folder / "criteria.html"
    files = {"criteria.json": (text + "\n").encode(), WEIGHTS: weights, **plots}
    for name, content in {**files, page.name: build_page(report, plots).encode()}.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return page


def check_folder(folder: Path) -> None:
    """Refuse before any work what cannot be written to after it.

    Raises:
        ConfigError: ``folder``, or what it is to lie in, is a file.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ConfigError(f"--out: {place} is a file; give a folder")


def folder_name(network: str, source: str) -> str:
    """``criteria-NETWORK-DATA``."""
    return "-".join(["criteria", *(data_folder(part).removeprefix("complexity-") for part in (network, source))])
