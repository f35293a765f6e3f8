"""A run that is taught by an earlier one: it forecasts from its first training on, and outlives the earlier run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import archive, run_json, write_config

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


def test_forecasts_come_with_the_first_training_and_outlive_the_earlier_run(tmp_path: Path) -> None:
    search = {"probes": 24, "trainings": 6, "rounds": 3, "population": 8}
    config = write_config(tmp_path, name="first", search=search, controls={"enabled": False})
    run_json(tmp_path, "search", config, "--quiet")
    changes = ("--set", "name=second", "--set", "budget.params=1/6", "--set", "surrogate.warm_start=[runs/first]")
    run_json(tmp_path, "search", config, "--quiet", *changes)
    first, second = (archive(tmp_path / "runs" / name).to_pylist() for name in ("first", "second"))
    foretold = [[row["forecast"] is not None for row in rows if row["stage"] == "train"] for rows in (first, second)]
    assert not foretold[0][0]
    assert all(foretold[1])
    shutil.rmtree(tmp_path / "runs" / "first")
    assert run_json(tmp_path, "resume", tmp_path / "runs" / "second", "--quiet")["chosen"]
    assert archive(tmp_path / "runs" / "second").to_pylist() == second
