"""A cluster started by the deployment's script: who has the token is let in, and nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from deployment import DEPLOY

JOIN = "import ray; ray.init(address='ADDRESS', log_to_driver=False); print('CPUs', ray.cluster_resources()['CPU'])"
PATIENCE = 150


def free_ports() -> int:
    """The first of twenty ports that nobody listens on."""
    for base in range(21000, 29000, 20):
        try:
            for port in range(base, base + 20):
                with socket.socket() as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder = tmp_path_factory.mktemp("token")
    token = folder / "token"
    token.write_text("k" * 64)
    base = free_ports()
    environment = {
        **clean_environment(),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "NIWAKI_RAY_PORT": str(base),
        "NIWAKI_DASHBOARD_PORT": str(base + 10),
        "NIWAKI_WORKER_PORTS": f"{base + 100}-{base + 199}",
    }
    command = [str(DEPLOY / "ray-node"), "head", "--block", "--num-cpus=1", "--object-store-memory=80000000"]
    command += [f"--temp-dir=/tmp/niwaki-test-{base}"]
    process = start(command, environment, folder / "log.txt")
    try:
        yield base, token
    finally:
        stop(process)


def start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A node that is up; on a busy machine Ray may give a start up, so it is tried three times."""
    for _ in range(3):
        with log.open("w") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            if "Ray runtime started" in log.read_text():
                return process
            time.sleep(0.5)
        stop(process)
    raise AssertionError(log.read_text())


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the node and all that it started."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=20)
        for member in alive:
            member.kill()
        process.wait()


def clean_environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**{k: v for k, v in os.environ.items() if not k.startswith("RAY_")}, "PATH": path}


def join(port: int, home: Path, **environment: str) -> subprocess.Popen[str]:
    """A client that would use the cluster."""
    home.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", JOIN.replace("ADDRESS", f"127.0.0.1:{port}")],
        env={**clean_environment(), "HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_only_the_token_opens_the_cluster(head: tuple[int, Path], tmp_path: Path) -> None:
    port, token = head
    shown = join(port, tmp_path / "a", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    without = join(port, tmp_path / "b")
    wrong = join(port, tmp_path / "c", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="w" * 64)
    out, err = shown.communicate(timeout=PATIENCE)
    assert "CPUs 1.0" in out, err
    for client in (without, wrong):
        out, err = client.communicate(timeout=PATIENCE)
        assert client.returncode != 0
        assert "CPUs" not in out
        assert "k" * 64 not in out + err


@pytest.mark.slow
def test_the_dashboard_is_on_loopback_and_asks_for_the_token(head: tuple[int, Path]) -> None:
    port = head[0] + 10
    listening = [c.laddr for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /api/jobs/ HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"401" in connection.recv(100).splitlines()[0]
