"""A search by a population, killed on the way: the archive and the networks are those of an undisturbed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that nobody disturbs, by one worker: its folder, and what it said."""
    home = tmp_path_factory.mktemp("whole")
    return home / "runs" / "tiny", run_json(home, "search", write_config(home, cluster__workers=1, **SETTINGS))


def test_children_go_on_from_their_parents_and_the_best_to_the_end(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, answer = whole
    rows = archive(folder).to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 16
    assert [row["stage"] for row in rows] == ["interval"] * 14 + ["train"] * 2
    inherited = [row for row in rows if row["stage"] == "interval" and row["parent"]]
    assert inherited
    epochs = {row["candidate"]: row["epochs"] for row in rows if row["stage"] == "interval"}
    assert all(row["epochs"] == epochs[row["parent"]] + 1 for row in inherited)
    assert answer["chosen"] in {row["candidate"] for row in rows[14:]}
    assert len(list((folder / "weights" / "members").iterdir())) <= 4, "weights that nobody will ask for are gone"


@pytest.mark.thorough
def test_killed_and_resumed_it_is_the_undisturbed_run(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    process = start(tmp_path, "search", write_config(tmp_path, cluster__workers=2, **SETTINGS), "--quiet")
    wait_for_rows(process, folder, int(np.random.default_rng().integers(4, 15)))
    kill_driver(process)
    run(tmp_path, "resume", folder, "--quiet")
    comparison = compare_archives(archive(whole[0]), archive(folder))
    assert comparison.equal, str(comparison)
    members = [{path.name for path in (home / "weights" / "members").iterdir()} for home in (whole[0], folder)]
    assert members[0] == members[1]
