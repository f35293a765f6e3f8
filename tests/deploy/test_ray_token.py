"""A cluster started by the deployment's script: who has the token is let in, and nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nodes import PATIENCE, clean_environment, running_head

JOIN = "import ray; ray.init(address='ADDRESS', log_to_driver=False); print('CPUs', ray.cluster_resources()['CPU'])"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    with running_head(tmp_path_factory.mktemp("token")) as node:
        yield node.port, node.token


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
    found = {address.ip for address in listening if address.port == port}
    if not found:
        pytest.skip("Ray is installed without its dashboard (ray[default]): nothing listens there")
    assert found == {"127.0.0.1"}
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /api/jobs/ HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"401" in connection.recv(100).splitlines()[0]
