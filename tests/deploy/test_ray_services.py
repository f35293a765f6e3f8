"""What a node's agent and the job server do for a search: its figures at the metrics port, and a search as a job."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from nodes import Head, clean_environment, running_head
from ray._private.utils import get_dashboard_dependency_error

from search.archive import read_archive
from search.comparison import compare_archives
from search.watch.snapshot import look

REASON = get_dashboard_dependency_error()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(REASON is not None, reason=f"Ray is installed without ray[default]: {REASON}"),
    pytest.mark.timeout(1800),
]

PATIENCE = 600.0
FADE = 60.0
"""Ray keeps a gauge for 20 s after it was told last."""

NIWAKI, RAY = (Path(sys.executable).with_name(name) for name in ("niwaki", "ray"))

CONFIG = {
    "name": "tiny",
    "data": {"source": "digits", "limit": 300},
    "network": {"name": "my_network:build"},
    "base_training": {"epochs": 2},
    "training": {"epochs": 2},
    "budget": {"params": "1/4"},
    "search": {"probes": 16, "trainings": 3, "rounds": 1, "population": 8, "window": 4},
    "probe": {"images": 128, "scoring_images": 64},
    "controls": {"enabled": False},
    "tracking": {"enabled": False},
    "export": {"formats": ["torch"]},
}

NETWORK = """
import time
from torch import nn
from my_blocks import block

class Pause(nn.Module):
    def forward(self, images):
        if self.training:
            time.sleep(1.5)
        return images

def build(shape, classes):
    layers = [Pause(), *block(shape[0], 12), *block(12, 24), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, classes))
"""
"""A network that trains slowly enough for its search to be looked at meanwhile."""

BLOCKS = """
from torch import nn

def block(before, after):
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("head"), cpus=2) as node:
        yield node


@pytest.fixture(scope="module")
def told(head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run that was searched on the cluster, and all that its metrics port said meanwhile."""
    home = written(tmp_path_factory.mktemp("search"))
    command = [NIWAKI, "search", "config.yaml", "--address", f"127.0.0.1:{head.port}", "--out", "runs", "--quiet"]
    said = []
    with (home / "log").open("wb") as log:
        search = subprocess.Popen(command, cwd=home, env=environment(head), stdout=log, stderr=log)
        while search.poll() is None:
            said += samples(head.port + 6)
            time.sleep(1)
    assert search.returncode == 0, (home / "log").read_text()
    return home / "runs" / "tiny", said + samples(head.port + 6)


def written(folder: Path) -> Path:
    """A folder with a configuration, and the user's modules."""
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "my_network.py").write_text(NETWORK)
    (folder / "my_blocks.py").write_text(BLOCKS)
    return folder


def environment(head: Head) -> dict[str, str]:
    return {**clean_environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(head.token)}


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def samples(port: int) -> list[Any]:
    """Niwaki's own of what a node's metrics port says."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(page(port))
    return [sample for family in families for sample in family.samples if sample.name.startswith("ray_niwaki_")]


def test_counters_end_as_the_archive_does(told: tuple[Path, list[Any]]) -> None:
    run, said = told
    rows = read_archive(run / "archive").to_pylist()
    expected = Counter((row["stage"], row["status"], row["reason"] or "") for row in rows)
    seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for row in rows:
        seconds[row["stage"], row["status"], row["reason"] or ""] += row["seconds"]
    assert expected
    counted = {outcome(s.labels): s.value for s in said if s.name == "ray_niwaki_evaluations_total"}
    spent = {outcome(s.labels): s.value for s in said if s.name == "ray_niwaki_device_seconds_total"}
    assert counted == dict(expected)
    assert spent == pytest.approx(dict(seconds))
    assert {(s.labels["run"], len(s.labels["run_id"])) for s in said} == {("tiny", 32)}


def outcome(labels: dict[str, str]) -> tuple[str, str, str]:
    return labels["stage"], labels["outcome"], labels["reason"]


def test_gauges_say_how_far_the_search_was(told: tuple[Path, list[Any]]) -> None:
    run, said = told
    snapshot = look(run)
    last = {s.name.removeprefix("ray_niwaki_"): s.value for s in said}
    assert last["hypervolume"] == pytest.approx(snapshot.hypervolume)
    assert last["best_accuracy_ratio"] == pytest.approx(max(member.accuracy for member in snapshot.front))
    assert last["under_way_evaluations"] == 0
    assert last["last_commit_timestamp_seconds"] == pytest.approx(snapshot.last, abs=5)
    archived = {s.labels["stage"]: s.value for s in said if s.name == "ray_niwaki_archived_evaluations"}
    assert {name: count for name, count in archived.items() if count} == {s.name: s.done for s in snapshot.stages}
    assert max(s.value for s in said if s.name == "ray_niwaki_workers" and s.labels["state"] == "busy") == 2
    assert max(s.value for s in said if s.name == "ray_niwaki_under_way_evaluations") > 0


def test_gauges_go_with_the_search_and_counters_stay(head: Head, told: tuple[Path, list[Any]]) -> None:
    deadline = time.monotonic() + FADE
    while gauges := {s.name for s in samples(head.port + 6) if not s.name.endswith("_total")}:
        assert time.monotonic() < deadline, gauges
        time.sleep(1)
    assert samples(head.port + 6)


def test_no_port_says_the_token(head: Head, told: tuple[Path, list[Any]]) -> None:
    for port in (head.port + 6, head.port + 8, head.port + 9):
        text = page(port)
        assert "# HELP" in text
        assert "k" * 20 not in text


def test_a_search_is_submitted_as_a_job(head: Head, told: tuple[Path, list[Any]], tmp_path: Path) -> None:
    """As deploy/README.md says it: configuration and modules travel, and the archive is that of a search by hand."""
    (tmp_path / "my-search").mkdir()
    written(tmp_path / "my-search")
    server = {**environment(head), "RAY_ADDRESS": f"http://127.0.0.1:{head.port + 10}"}
    search = [str(NIWAKI), "search", "config.yaml", "--address", "auto", "--out", str(tmp_path / "runs")]
    submitted = subprocess.run(
        [RAY, "job", "submit", "--working-dir", "my-search", "--", *search],
        cwd=tmp_path,
        env=server,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    said = submitted.stdout + submitted.stderr
    assert submitted.returncode == 0, said
    assert "k" * 20 not in said
    comparison = compare_archives(read_archive(told[0] / "archive"), read_archive(tmp_path / "runs/tiny/archive"))
    assert comparison.equal, str(comparison)


def test_ray_client_serves_nobody_without_the_token(head: Head, tmp_path: Path) -> None:
    join = f"import ray; ray.init('ray://127.0.0.1:{head.port + 7}'); print('CPUs', ray.cluster_resources())"
    stranger = {**clean_environment(), "HOME": str(tmp_path)}
    clients = {
        "shown": environment(head),
        "without": stranger,
        "wrong": {**stranger, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "w" * 64},
    }
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", join], env=client, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for name, client in clients.items()
    }
    said = {name: client.communicate(timeout=PATIENCE)[0] for name, client in started.items()}
    assert "CPUs" in said["shown"]
    assert "CPUs" not in said["without"] + said["wrong"]
    assert started["without"].returncode != 0
    assert started["wrong"].returncode != 0


def test_a_job_is_not_taken_without_the_token(head: Head, tmp_path: Path) -> None:
    server = {**clean_environment(), "HOME": str(tmp_path), "RAY_ADDRESS": f"http://127.0.0.1:{head.port + 10}"}
    for token in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "w" * 64}):
        command = [RAY, "job", "submit", "--", "touch", str(tmp_path / "touched")]
        refused = subprocess.run(command, env={**server, **token}, capture_output=True, text=True, timeout=PATIENCE)
        assert refused.returncode != 0
        assert "uthenticat" in refused.stdout + refused.stderr
    assert not (tmp_path / "touched").exists()


LOCAL = """
import ray
from workers.connection import ClusterSettings, connect
connect(ClusterSettings(workers=1), [])
print("up", flush=True)
input()
ray.shutdown()
"""


def test_a_search_on_its_own_machine_listens_for_nobody_else(tmp_path: Path) -> None:
    """Though Ray's agents run, which the dashboard's packages bring."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCAL],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    try:
        deadline = time.monotonic() + FADE
        found = listening(process.pid)
        while not any("DashboardAgent" in name for name, _ in found):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
            found = listening(process.pid)
        assert len(found) >= 5
        assert {address.removeprefix("::ffff:") for _, address in found} == {"127.0.0.1"}
    finally:
        process.communicate("\n", timeout=PATIENCE)


def listening(parent: int) -> list[tuple[str, str]]:
    """Command and address of everything under a process that listens."""
    family = {p.pid: " ".join(p.cmdline()) for p in psutil.Process(parent).children(recursive=True)}
    found = [c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    return [(family[c.pid], c.laddr.ip) for c in found if c.pid in family]
