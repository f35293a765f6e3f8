"""Processes killed by -9 at any moment: the archive is that of the undisturbed run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from tiny_runs import archive, kill_driver, rows, run, start, wait_for_rows, workers_of, write_config

from search.comparison import compare_archives

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The archive of a run that nobody disturbs."""
    home = tmp_path_factory.mktemp("undisturbed")
    run(home, "search", write_config(home, tracking__enabled=False), "--quiet")
    return archive(home / "runs" / "tiny")


@pytest.mark.timeout(600)
def test_a_driver_killed_at_random_moments_and_resumed(undisturbed: pa.Table, tmp_path: Path) -> None:
    config = write_config(tmp_path, tracking__enabled=False)
    folder = tmp_path / "runs" / "tiny"
    moments = sorted(np.random.default_rng().integers(0, undisturbed.num_rows, 2).tolist())
    for moment in moments:
        command = ("resume", folder) if (folder / "run.json").exists() else ("search", config)
        process = start(tmp_path, *command)
        wait_for_rows(process, folder, moment)
        kill_driver(process)
    if not (folder / "run.json").exists():
        run(tmp_path, "search", config, "--quiet")
    run(tmp_path, "resume", folder, "--quiet")
    comparison = compare_archives(undisturbed, archive(folder))
    assert comparison.equal, f"killed at rows {moments}: {comparison}"
    assert not list((folder / "weights").glob("*.checkpoint"))


@pytest.mark.timeout(600)
def test_workers_killed_in_a_probe_and_in_a_training(undisturbed: pa.Table, tmp_path: Path) -> None:
    config = write_config(tmp_path, tracking__enabled=False)
    folder = tmp_path / "runs" / "tiny"
    process = start(tmp_path, "search", config, "--quiet")
    wait_for_rows(process, folder, 5)
    _kill_one(process)
    while not list((folder / "weights").glob("*.checkpoint")) or rows(folder) < 5:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    _kill_one(process)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    comparison = compare_archives(undisturbed, archive(folder))
    assert comparison.equal, str(comparison)
    assert max(archive(folder).column("attempts").to_pylist()) >= 2


def _kill_one(process: psutil.Popen) -> None:
    victims = workers_of(process)
    assert victims
    victims[0].kill()
