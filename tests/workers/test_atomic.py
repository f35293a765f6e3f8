"""A file appears whole or not at all, and what a killed process had begun is cleared away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workers.atomic import remove_leftovers, replacing

KILLED = """
import os, signal, sys
from pathlib import Path
from workers.atomic import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_is_as_it_was_when_its_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = {tmp_path / ".lock", tmp_path / ".abc.json", tmp_path / "deep" / ".0123456g.json", tmp_path / "a.0a1b2c3d.b"}
    (tmp_path / "deep").mkdir()
    for path in kept:
        path.write_text("kept")
    target = tmp_path / "deep" / "000-001.json"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, target], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.returncode == -signal.SIGKILL
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files - kept) == 1, "the test would prove nothing"
    remove_leftovers(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == kept
