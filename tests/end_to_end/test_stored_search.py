"""The head of a cluster dies three times with all that it had; each time a fresh machine goes on from storage."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pyarrow.fs import FileSystem
from tiny_runs import PATIENCE, archive, rows, run, same_tensors, start, write_config

from search.comparison import compare_archives
from search.fetching import copy_down
from search.lease import FILE as DRIVER
from search.storage import open_place

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

PYTHON = os.environ.get("NIWAKI_MOTO_PYTHON", sys.executable)
SMALL = {"search": {"probes": 12, "trainings": 2, "rounds": 2, "population": 4}, "controls": {"enabled": False}}
PLANTED = {"AWS_ACCESS_KEY_ID": "plantedaccess", "AWS_SECRET_ACCESS_KEY": "plantedsecret"}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a bucket in an S3 server of its own; the environment says where it is and who asks."""
    if subprocess.run([PYTHON, "-c", "import moto.server"], capture_output=True).returncode:
        pytest.skip("moto is not installed: the dev extra has it, or name a Python that does in NIWAKI_MOTO_PYTHON")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as file, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen([PYTHON, "-m", "moto.server", "-p", str(port)], stdout=file, stderr=file)
        try:
            for name in [n for n in os.environ if n.lower().endswith("_proxy") or n.startswith("AWS_")]:
                patch.delenv(name)
            for name, value in PLANTED.items():
                patch.setenv(name, value)
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            _wait_for(port, server)
            files, name = FileSystem.from_uri("s3://runs?allow_bucket_creation=true")
            files.create_dir(name)
            yield "s3://runs"
        finally:
            server.kill()
            server.wait()


@pytest.mark.timeout(3000)
def test_the_head_dies_three_times_and_fresh_machines_go_on_from_s3(tmp_path: Path, bucket: str) -> None:
    undisturbed = tmp_path / "undisturbed"
    run(undisturbed, "search", _config(undisturbed), "--quiet")
    expected = archive(undisturbed / "runs" / "tiny")
    moments = sorted(np.random.default_rng().integers(1, expected.num_rows, 3).tolist())
    place, said = open_place(f"{bucket}/tiny"), []
    for number, moment in enumerate(moments):
        machine = tmp_path / f"machine-{number}"
        config = _config(machine)  # a tried-again job says `search` as at first, a person says `resume`
        process = start(machine, *[("search", config, "--storage", bucket), ("resume", f"{bucket}/tiny")][number % 2])
        _wait_for_rows(process, machine / "runs" / "tiny", moment)
        _kill_with_ray(process)
        said.append("".join(process.communicate()))
        shutil.rmtree(machine)
        copy_down(place, place.names(), tmp_path / f"left-{number}")
    last = tmp_path / "machine-last"
    last.mkdir()
    said.append(run(last, "resume", f"{bucket}/tiny"))
    told = f"killed at rows {moments}"
    found = last / "runs" / "tiny"
    comparison = compare_archives(expected, archive(found))
    assert comparison.equal, f"{told}: {comparison}"
    assert run(tmp_path, "compare", undisturbed / "runs" / "tiny", f"{bucket}/tiny").startswith("equal"), told
    for number in range(3):
        _nothing_of_it_was_done_again(tmp_path / f"left-{number}", found)
    copy_down(place, place.names(), tmp_path / "left-last")
    in_storage = {str(p.relative_to(tmp_path / "left-last")) for p in _files(tmp_path / "left-last")} - {DRIVER}
    here = {str(p.relative_to(found)) for p in _files(found) if not p.name.startswith(".")}
    assert {n for n in in_storage if "archive" not in n} == {n for n in here if "archive" not in n}
    assert not [name for name in in_storage if name.endswith(".checkpoint")]
    assert not re.findall("planted", "".join(said))
    assert not [path for path in _files(tmp_path) if b"planted" in path.read_bytes()]


def _config(folder: Path) -> Path:
    return write_config(folder, tracking__enabled=False, **SMALL)


def _wait_for_rows(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Until the archive holds so many: of earlier drivers in parts, of this one in its journal."""
    deadline = time.monotonic() + PATIENCE
    while not (journals := list((folder / "archive").glob("_journal-*"))) or rows(folder) + _start(journals) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _start(journals: list[Path]) -> int:
    return max(int(path.stem.split("-")[1]) for path in journals)


def _nothing_of_it_was_done_again(left: Path, found: Path) -> None:
    """What was published when a machine died is part of the end result to the second in which it was committed."""
    if (left / "archive").is_dir():
        before, after = archive(left), archive(found)
        for name in ("number", "candidate", "committed_at", "seconds"):
            assert before[name].to_pylist() == after[name].to_pylist()[: before.num_rows]
    for path in (left / "weights").glob("*.safetensors"):
        assert same_tensors(path, found / "weights" / path.name), path.name


def _kill_with_ray(process: subprocess.Popen[str]) -> None:
    """SIGKILL the driver and everything that it started."""
    everything = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in everything:
        one.kill()
    psutil.wait_procs(everything, timeout=30)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, "moto's server ended"
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("moto's server does not answer")
