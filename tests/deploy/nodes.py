"""Nodes of Ray on this machine, started by the deployment's script on ports of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from deployment import DEPLOY

PATIENCE = 150


@dataclass(frozen=True)
class Head:
    """A head that is up, and the file of its token. The dashboard's port is ``port + 10``, that of metrics ``+ 6``."""

    port: int
    token: Path


@contextmanager
def running_head(folder: Path, cpus: int = 1) -> Iterator[Head]:
    """A head with a token while the block lasts; its log is ``log.txt`` of ``folder``."""
    token = folder / "token"
    token.write_text("k" * 64)
    base = free_ports()
    environment = {
        **clean_environment(),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_worker_niceness": "0",
        "NIWAKI_RAY_PORT": str(base),
        "NIWAKI_DASHBOARD_PORT": str(base + 10),
        "NIWAKI_WORKER_PORTS": f"{base + 100}-{base + 199}",
    }
    command = [str(DEPLOY / "ray-node"), "head", "--block", f"--num-cpus={cpus}", "--object-store-memory=80000000"]
    command += [f"--temp-dir=/tmp/niwaki-test-{base}"]
    process = start(command, environment, folder / "log.txt")
    try:
        yield Head(base, token)
    finally:
        stop(process)
        shutil.rmtree(f"/tmp/niwaki-test-{base}", ignore_errors=True)


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
