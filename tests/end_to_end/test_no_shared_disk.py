"""Workers on a machine that sees nothing of the run's folder: members, trainings and finishes travel by themselves."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tiny_runs import NIWAKI, archive, run, same_tensors, write_config

from search.comparison import compare_archives

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

RAY = NIWAKI.with_name("ray")
UNSHARED = ["unshare", "--mount", "--propagation", "private"]
SETTINGS = {
    "tracking": {"enabled": False},
    "population": {"interval": 1},
    "search": {"strategy": "population", "probes": 10, "trainings": 2, "population": 4, "rounds": 1, "window": 8},
    "controls": {"enabled": False},
    "finish": {"method": "pbt", "candidates": 1, "population": 2, "epochs": 4, "interval": 2},
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A head without a core, and a node where the folder of runs is an empty disk; the head's address, the folder."""
    if not shutil.which("unshare") or subprocess.run([*UNSHARED, "true"], capture_output=True).returncode:
        pytest.skip("no right to hide a folder from a process (unshare --mount)")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "k" * 64)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    runs = tmp_path / "disk"
    runs.mkdir()
    port = 28510
    common = [RAY, "start", "--block", "--include-dashboard=false"]
    head = [*common[:-1], "--head", f"--port={port}", "--num-cpus=0", "--node-ip-address=127.0.0.1", common[-1]]
    node = [*common[:-1], f"--address=127.0.0.1:{port}", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
    hide = [*UNSHARED, "sh", "-c", f'mount -t tmpfs none {runs} && exec "$@"', "node"]
    started = []
    try:
        for name, command in (("head", head), ("node", [*hide, *node])):
            log = tmp_path / f"{name}.log"
            with log.open("wb") as file:
                started.append(subprocess.Popen([str(c) for c in command], stdout=file, stderr=file))
            deadline = time.monotonic() + 180
            while "runtime started" not in log.read_text():
                assert started[-1].poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield f"127.0.0.1:{port}", runs
    finally:
        family = [p for s in started for p in [psutil.Process(s.pid), *psutil.Process(s.pid).children(recursive=True)]]
        for process in reversed(family):
            if process.is_running():
                process.kill()
        for process in started:
            process.wait()


@pytest.mark.timeout(3000)
def test_the_archive_is_that_of_one_machine(cluster: tuple[str, Path], tmp_path: Path) -> None:
    address, runs = cluster
    run(tmp_path, "search", write_config(tmp_path, **SETTINGS), "--address", address, "--out", runs, "--quiet")
    alone = tmp_path / "alone"
    run(alone, "search", write_config(alone, **SETTINGS), "--quiet")
    apart, together = runs / "tiny", alone / "runs" / "tiny"
    comparison = compare_archives(archive(together), archive(apart))
    assert comparison.equal, str(comparison)
    assert [row["status"] for row in archive(apart).to_pylist()] == ["ok"] * archive(apart).num_rows
    assert _names(apart) == _names(together)
    for path in (together / "weights").rglob("*.safetensors"):
        assert same_tensors(path, apart / path.relative_to(together)), path


def _names(folder: Path) -> set[str]:
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(name) for name in files if name.parts[0] != "archive"}
