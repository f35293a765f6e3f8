"""Machines with networks of their own: who may connect, and a search while they die, drop out and join."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from hosts import ROOT, Address, Host, Network, network, start_node, why_not
from tiny_runs import NIWAKI, archive, rows, run, write_config

from search.comparison import compare_archives

REASON = why_not()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(bool(REASON), reason=REASON),
    pytest.mark.timeout(2400),
]

TOKEN = "k" * 64
JOIN = "import ray; ray.init(address='ADDRESS', log_to_driver=False); print('CPUs', ray.cluster_resources()['CPU'])"
PATIENCE = 1500.0

NETWORK = """
import time
from torch import nn
from my_blocks import block

class Pause(nn.Module):
    def forward(self, images):
        if self.training:
            time.sleep(0.5)
        return images

def build(shape, classes):
    layers = [Pause(), *block(shape[0], 12), *block(12, 24), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, classes))
"""
"""A network of the user's, slow to train and easy on the processor: machines come and go while it trains."""

BLOCKS = """
from torch import nn

def block(before, after):
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
"""

SLEEPY = """
import json, socket, sys, time
from workers.cluster import ClusterSettings, RayCluster

def build():
    def job(seconds):
        time.sleep(seconds)
        return socket.gethostname()
    return job

if __name__ == "__main__":
    import sleepy
    cluster = RayCluster(ClusterSettings(address=sys.argv[1]), limit=lambda _: 40.0, modules=["sleepy:build"])
    cluster.use(sleepy.build)
    while sys.argv[2] not in cluster.map([0.5] * 8):
        pass
    print("said", "all at work", flush=True)
    print("said", json.dumps(cluster.map([20.0] * cluster.idle())), flush=True)
    sys.stdin.readline()
    print("said", json.dumps(cluster.map([0.5] * 8)), flush=True)
    cluster.close()
"""
"""A driver whose work is to sleep, for at most 40 s: shorter than it takes Ray to give a machine up."""

CONFIG = {
    "network": {"name": "my_network:build"},
    "tracking__enabled": False,
    "base_training__epochs": 2,
    "training__epochs": 10,
}


class Cluster:
    """A head and two workers, started by the deployment's script."""

    def __init__(self, machines: Network, folder: Path) -> None:
        self.machines, self.folder = machines, folder
        (folder / "token").write_text(TOKEN)
        self.head = machines.add("head")
        start_node(self.head, folder, "head")
        self.address = f"{machines.address('head')}:6379"
        self.first, self.second = self.join("first"), self.join("second")

    def join(self, name: str, hidden: Path | None = None, torch: str = "") -> Host:
        """A worker more, from which ``hidden`` is hidden, and which seems to have another version of torch."""
        host = self.machines.add(name)
        if hidden is not None:
            host.hide(hidden)
        environment = {}
        if torch:
            about = self.folder / name / f"torch-{torch}.dist-info" / "METADATA"
            about.parent.mkdir(parents=True)
            about.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {torch}\n")
            environment["PYTHONPATH"] = f"{about.parents[1]}:{ROOT}"
        start_node(host, self.folder, "worker", self.address, **environment)
        return host

    def search(self, log: Path, home: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """`niwaki search` on the head, in the folder ``home``."""
        return self.drive(log, home, NIWAKI, "search", *arguments, "--address", self.address)

    def drive(self, log: Path, home: Path, *command: str | Path) -> subprocess.Popen[bytes]:
        """A driver on the head, in the folder ``home``."""
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}
        return self.head.start(command, log, home, **token)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with network() as machines:
        yield Cluster(machines, tmp_path_factory.mktemp("cluster"))


def test_only_the_token_opens_the_cluster_from_another_machine(cluster: Cluster, tmp_path: Path) -> None:
    stranger = cluster.machines.add("stranger")
    given = {
        "shown": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
        "without": {},
        "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "w" * 64},
    }
    command = [sys.executable, "-c", JOIN.replace("ADDRESS", cluster.address)]
    said = {}
    for name, token in given.items():
        client = stranger.start(command, tmp_path / f"{name}.log", HOME=str(tmp_path), **token)
        # Who has the token joins as far as a driver can that has no node on its machine: Ray tells it so.
        client.wait(timeout=300)
        said[name] = (tmp_path / f"{name}.log").read_text()
        assert TOKEN not in said[name]
    for name in ("without", "wrong"):
        assert "CPUs" not in said[name]
        assert "uthenticat" in said[name], said[name]
    assert "uthenticat" not in said["shown"], said["shown"]


@pytest.mark.parametrize("name", ["head", "first"])
def test_no_port_is_open_but_those_that_are_documented(cluster: Cluster, name: str) -> None:
    documented = {*range(6379, 6389), *range(10100, 11000)}
    host = getattr(cluster, name)
    open_to_others = {port for address, port in host.listening() if not _loopback(address)}
    assert open_to_others
    assert open_to_others <= documented


def test_work_on_a_machine_that_is_cut_off_is_done_elsewhere_and_counts_once(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPY)
    third = cluster.join("third", tmp_path)
    driver = cluster.drive(tmp_path / "log", tmp_path, sys.executable, "sleepy.py", cluster.address, "third")
    assert driver.stdin is not None
    _await_lines(driver, tmp_path / "log", 1)
    cluster.machines.cut("third")
    results = json.loads(_await_lines(driver, tmp_path / "log", 2)[1])
    assert len(results) >= 4, "a worker on each machine"
    assert set(results) == {"head", "first", "second"}, "what the cut machine did cannot be known"
    cluster.machines.mend("third")
    driver.stdin.write(b"\n")
    driver.stdin.close()
    after = json.loads(_await_lines(driver, tmp_path / "log", 3)[2])
    assert len(after) == 8, "what comes back late is nobody's result"
    assert driver.wait(timeout=PATIENCE) == 0
    third.kill_all()


def test_machines_that_die_drop_out_and_join_leave_the_archive_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = write_config(home, **CONFIG)
    (home / "my_network.py").write_text(NETWORK)
    (home / "my_blocks.py").write_text(BLOCKS)
    for host in (cluster.first, cluster.second):
        host.hide(home)  # the user's code must come from the driver
    alone = tmp_path / "alone"
    run(home, "search", config, "--quiet", "--out", alone, "--set", "cluster.workers=4")
    # Without a number, workers are as many as there is room for.
    settings = yaml.safe_load(config.read_text())
    del settings["cluster"]["workers"]
    config.write_text(yaml.safe_dump(settings))
    log, together = tmp_path / "niwaki.log", tmp_path / "together" / "tiny"
    search = cluster.search(log, home, config, "--out", together.parent)
    _await_rows(search, log, together, 5)
    cluster.first.kill_all()
    cluster.machines.cut("second")
    # Longer than all that is under way there, and shorter than Ray takes to give a machine up.
    mending = threading.Timer(30.0, cluster.machines.mend, ["second"])
    mending.start()
    late = cluster.join("late", home)
    cluster.join("odd", home, torch="9.9.9")
    mending.join()
    assert search.wait(timeout=PATIENCE) == 0, log.read_text()
    comparison = compare_archives(archive(alone / "tiny"), archive(together))
    assert comparison.equal, str(comparison)
    where = {worker.rpartition(":")[0] for worker in archive(together).column("worker").to_pylist()}
    assert cluster.machines.address("late") in where, "who joins late must get work"
    assert late.processes()
    odd = cluster.machines.address("odd")
    assert odd not in where
    assert f"{odd} is not used: it has torch 9.9.9 (here " in " ".join(log.read_text().split())
    _await_no_workers(cluster.head)


def test_a_machine_with_other_versions_is_refused_with_the_mend(cluster: Cluster, tmp_path: Path) -> None:
    strange = cluster.join("strange", torch="1.2.3")
    config = write_config(tmp_path, tracking__enabled=False)
    assert cluster.search(tmp_path / "log", tmp_path, config).wait(timeout=PATIENCE) == 1
    said = (tmp_path / "log").read_text()
    assert f"{cluster.machines.address('strange')} has torch 1.2.3 (here " in said
    assert "make .venv/installed" in said
    assert not (tmp_path / "runs" / "tiny").exists(), "nothing is written for a run that cannot start"
    strange.kill_all()


def _await_lines(process: subprocess.Popen[bytes], log: Path, count: int) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    while len(lines := [line for line in log.read_text().splitlines() if line.startswith("said ")]) < count:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return [line.removeprefix("said ") for line in lines]


def _await_rows(process: subprocess.Popen[bytes], log: Path, run_folder: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while rows(run_folder) < count:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"{rows(run_folder)} rows after {PATIENCE} s"
        time.sleep(0.05)


def _loopback(address: Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _await_no_workers(host: Host) -> None:
    """Workers end by themselves when the driver has."""
    deadline = time.monotonic() + 60
    while left := [name for name in map(_name, host.processes()) if "ray::Worker" in name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended since, or is a zombie
        return ""
