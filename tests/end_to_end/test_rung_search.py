"""A search whose trainings pause at rungs: killed in the middle it decides the same again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import archive, kill_driver, run, run_json, start, wait_for_rows, write_config

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

HALVED = {
    "training__epochs": 4,
    "search__rungs": 1,
    "search__reduction": 2,
    "search__trainings": 6,
    "controls": {"enabled": False},
}


def course(folder: Path) -> list[tuple[Any, ...]]:
    names = ("number", "stage", "candidate", "status", "epochs", "accuracy")
    return [tuple(row[name] for name in names) for row in archive(folder / "runs" / "tiny").to_pylist()]


def test_half_of_the_trainings_go_on_and_a_killed_driver_changes_nothing(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    result = run_json(undisturbed, "search", write_config(undisturbed, **HALVED), "--quiet")
    rows = course(undisturbed)
    assert Counter(row[1] for row in rows)["rung"] == 6
    assert {row[4] for row in rows if row[1] == "rung"} == {2}
    ends = [row for row in rows if row[1] == "train"]
    assert 3 <= len(ends) < 6
    assert all(row[4] == 4 for row in ends)
    assert result["chosen"] in {row[2] for row in ends}
    run_folder = undisturbed / "runs" / "tiny"
    assert not list(run_folder.rglob("*.checkpoint"))
    assert (run_folder / "report" / "report.html").exists()

    process = start(killed, "search", write_config(killed, **HALVED), "--quiet")
    wait_for_rows(process, killed / "runs" / "tiny", 16)
    kill_driver(process)
    run(killed, "resume", "runs/tiny", "--quiet")
    assert course(killed) == rows
