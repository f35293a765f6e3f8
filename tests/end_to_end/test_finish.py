"""Candidates finished by Ray Tune: found by everything that sees trainings, and the same whoever is killed when."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import psutil
import pytest
from tiny_runs import PATIENCE, archive, kill_driver, run_json, start, write_config

from search import load_result
from search.comparison import compare_archives

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

FINISH = {"method": "pbt", "candidates": 1, "population": 3, "epochs": 6, "interval": 2}
LEGS = 9


def configure(home: Path) -> Path:
    return write_config(
        home, search__probes=8, search__trainings=2, search__rounds=1, controls__enabled=False, finish=FINISH
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that nobody disturbs: its folder, and what it said."""
    home = tmp_path_factory.mktemp("finished")
    return home / "runs" / "tiny", run_json(home, "search", configure(home))


def test_a_finish_is_a_training_to_all_that_sees_trainings(finished: tuple[Path, dict[str, Any]]) -> None:
    path, answer = finished
    rows = archive(path).to_pylist()
    assert [r["stage"] for r in rows] == [*["probe"] * 8, *["train"] * 2, "finish"]
    finish = rows[-1]
    training = next(r for r in rows if r["stage"] == "train" and r["candidate"] == finish["candidate"])
    assert (finish["status"], finish["origin"], finish["number"]) == ("ok", "evolution", 10)
    assert (finish["epochs"], finish["params"]) == (6, training["params"])
    assert nested_runs(path) == 3
    shown = next(m for m in answer["front"] if m["candidate"] == finish["candidate"])
    assert shown["validation_accuracy"] == pytest.approx(max(finish["accuracy"], training["accuracy"]), abs=1e-9)
    gained = finish["accuracy"] > training["accuracy"]
    assert shown["before_finish"] == (training["accuracy"] if gained else None)
    assert any("Trained on after the search (pbt, 3 × 6 epochs)" in note for note in answer["notes"])
    assert (path / "weights" / f"{finish['candidate']}{'-finish' * gained}.pt2").exists()
    assert answer["registered"] is not None
    load_result(path).load(finish["candidate"])


def test_only_the_story_of_a_finish_is_kept(finished: tuple[Path, dict[str, Any]]) -> None:
    [folder] = (finished[0] / "finish").iterdir()
    assert {p.name for p in folder.iterdir()} == {
        "result.json",
        *(f"{n:03d}-{m:03d}.json" for n, m in np.ndindex(3, 3)),
    }
    story = json.loads((folder / "result.json").read_text())
    assert [leg["until"] for leg in story] == [2, 4, 6]


def test_a_member_killed_then_the_driver_killed_and_resumed(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    first, last = sorted(np.random.default_rng().choice(np.arange(1, LEGS - 1), 2, replace=False).tolist())
    path = tmp_path / "runs" / "tiny"
    process = start(tmp_path, "search", configure(tmp_path), "--quiet")
    wait_for_legs(process, path, first)
    kill_member(process, path)
    wait_for_legs(process, path, last)
    kill_driver(process)
    before = {record: record.stat().st_mtime_ns for record in records(path)}
    run_json(tmp_path, "resume", path)
    comparison = compare_archives(archive(finished[0]), archive(path))
    assert comparison.equal, f"killed after {first} and {last} legs: {comparison}"
    assert {record: record.stat().st_mtime_ns for record in before} == before, "what was over was not repeated"
    assert len(records(path)) == LEGS
    assert [p for p in path.rglob(".*") if p.name != ".lock"] == [], "half-written files are left"
    assert nested_runs(path) == nested_runs(finished[0])


def records(path: Path) -> list[Path]:
    return [record for record in path.glob("finish/*/*-*.json") if not record.name.startswith(".")]


def wait_for_legs(process: Popen[str], path: Path, count: int) -> None:
    """Until so many legs are over."""
    deadline = time.monotonic() + PATIENCE
    while len(records(path)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_member(process: Popen[str], path: Path) -> None:
    """SIGKILL a process that trains: the next that is seen at it."""
    while len(records(path)) < LEGS:
        assert process.poll() is None, process.communicate()[1]
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if any(part.startswith("ray::") and "Trainable" in part for part in child.cmdline()):
                    child.kill()
                    return
            except psutil.Error:
                continue
        time.sleep(0.02)


def nested_runs(path: Path) -> int:
    """MLflow runs below the search's own."""
    with sqlite3.connect(path.parents[1] / "mlflow.db") as store:
        return int(store.execute("select count(*) from tags where key = 'mlflow.parentRunId'").fetchone()[0])
