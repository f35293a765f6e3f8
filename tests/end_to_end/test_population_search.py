"""A search by a population, killed on the way: the archive and the networks are those of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import archive, kill_driver, run, run_json, start, wait_for_rows, write_config

from search.comparison import compare_archives

pytestmark = pytest.mark.slow

SETTINGS = {
    "population": {"interval": 1},
    "search": {"strategy": "population", "probes": 14, "trainings": 2, "population": 4, "rounds": 1},
    "controls": {"enabled": False},
    "space": {"mutation": 0.4},
}


def test_killed_and_resumed_it_is_the_undisturbed_run(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    answer = run_json(whole, "search", write_config(whole, cluster__workers=1, **SETTINGS))
    rows = archive(whole / "runs" / "tiny").to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 16
    assert [row["stage"] for row in rows] == ["interval"] * 14 + ["train"] * 2
    inherited = [row for row in rows if row["stage"] == "interval" and row["parent"]]
    assert inherited
    epochs = {row["candidate"]: row["epochs"] for row in rows if row["stage"] == "interval"}
    assert all(row["epochs"] == epochs[row["parent"]] + 1 for row in inherited)
    assert answer["chosen"] in {row["candidate"] for row in rows[14:]}

    folder = cut / "runs" / "tiny"
    process = start(cut, "search", write_config(cut, cluster__workers=2, **SETTINGS), "--quiet")
    wait_for_rows(process, folder, int(np.random.default_rng().integers(4, 15)))
    kill_driver(process)
    run(cut, "resume", folder, "--quiet")
    comparison = compare_archives(archive(whole / "runs" / "tiny"), archive(folder))
    assert comparison.equal, str(comparison)
    members = [
        {path.name for path in (home / "weights" / "members").iterdir()} for home in (whole / "runs/tiny", folder)
    ]
    assert members[0] == members[1]
    assert len(members[0]) <= 4, "weights that nobody will ask for are gone"
