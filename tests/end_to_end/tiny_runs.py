"""Whole searches that take seconds, started as a user starts them: by the command line, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import torch
import yaml
from _pytest.mark.structures import ParameterSet

from search.archive import read_archive
from workers.tensors import load_tensors

NIWAKI = Path(sys.executable).with_name("niwaki")
PATIENCE = 500.0


def thorough(value: str) -> ParameterSet:
    """A parameter that only ``make test-all`` runs."""
    return pytest.param(value, marks=pytest.mark.thorough)


def write_config(folder: Path, **changes: Any) -> Path:
    """A configuration of a tiny search on digits: eleven groups, two growths, two trainings, all controls."""
    config: dict[str, Any] = {
        "name": "tiny",
        "data": {"source": "digits", "limit": 300},
        "network": {"name": "inception", "arguments": {"stem": 8, "widths": [16, 32], "modules": [1, 1]}},
        "base_training": {"epochs": 3},
        "training": {"epochs": 2, "distillation": 0.5},
        "budget": {"params": "1/4"},
        "search": {"probes": 24, "trainings": 4, "rounds": 2, "population": 8},
        "probe": {"images": 128, "scoring_images": 64},
        "controls": {"repeats": 1, "sensitivity_levels": 1},
        "cluster": {"workers": 2},
        "export": {"formats": ["torch"]},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            config.setdefault(section, {})[key] = value
        else:
            config[section] = value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(folder: Path, *arguments: str | Path, path: Path | None = None) -> subprocess.Popen[str]:
    """Start `niwaki` in ``folder``, leading a process group of its own; ``path`` is put on the Python path."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["RAY_worker_niceness"] = "0"  # workers that give way to other tests would run into time limits
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.Popen(
        [str(NIWAKI), *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *arguments: str | Path, path: Path | None = None) -> str:
    """Run `niwaki` to its end; its standard output."""
    process = start(folder, *arguments, path=path)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def run_json(folder: Path, *arguments: str | Path, path: Path | None = None) -> dict[str, Any]:
    """Run `niwaki … --json`; its answer."""
    answer: dict[str, Any] = json.loads(run(folder, *arguments, "--json", path=path))
    return answer


def rows(run_folder: Path) -> int:
    """Evaluations that are durable by now."""
    journals = list((run_folder / "archive").glob("_journal-*.jsonl"))
    return sum(path.read_bytes().count(b'"number":') for path in journals)


def wait_for_rows(process: subprocess.Popen[str], run_folder: Path, count: int) -> None:
    """Until the archive holds ``count`` rows."""
    deadline = time.monotonic() + PATIENCE
    while rows(run_folder) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{rows(run_folder)} rows after {PATIENCE} s"
        time.sleep(0.05)


def kill_driver(process: subprocess.Popen[str]) -> None:
    """SIGKILL the driver alone: what it started is left to find out by itself."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The Ray workers that hold a niwaki job under a driver."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if any("ray::Worker" in part for part in _command(child))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def same_tensors(first: Path, second: Path) -> bool:
    """Whether two weights files hold the same; their headers may name it in another order."""
    ours, theirs = (load_tensors(path)[0] for path in (first, second))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def archive(run_folder: Path) -> pa.Table:
    """The published archive."""
    return read_archive(run_folder / "archive")
