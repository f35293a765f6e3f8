"""Machines on one machine: each host has a network, processes, a name, /dev/shm and /tmp/ray of its own.

They share the file system, as machines with a network file system do. What a host is dies with its first process, and
that dies with the test, however it ends: nothing is left that would have to be cleaned up.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
RAY_NODE = ROOT / "deploy" / "ray-node"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

STARTS = 5
LISTEN = "0A"
"""The kernel's word for it, in ``/proc/net/tcp``."""

NAMESPACES = ["--mount", "--net", "--uts", "--pid"]
HOST = """
mount -t tmpfs tmpfs /dev/shm && mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && hostname {name} &&
ip link set lo up && echo up && exec sleep infinity
"""


def why_not() -> str:
    """Why hosts cannot be had here; empty where they can."""
    missing = [tool for tool in ("ip", "unshare", "nsenter", "mount") if shutil.which(tool) is None]
    if missing:
        return f"no {missing[0]} here"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False)
    return "" if tried.returncode == 0 else "this system gives no namespaces"


class Host:
    """A machine; its processes end with :meth:`close`, and no later than this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holder = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "sh", "-c", HOST.format(name=name)],
            stdout=subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n", f"{name} does not come up"
        [first] = psutil.Process(self._holder.pid).children()
        self.pid = first.pid

    def start(
        self, command: Sequence[str | Path], log: Path, folder: Path | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a command here, in ``folder``; what it prints goes to ``log``."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [*_enter(self.pid, "-m", "-n", "-u", "-p"), "env", "-C", str(folder or "/"), *map(str, command)],
                env={**clean_environment(), **environment},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                preexec_fn=_die_with_parent,
            )

    def processes(self) -> list[psutil.Process]:
        """All processes here but the first."""
        spaces = {p: _namespace(p.pid) for p in psutil.process_iter()}
        return [p for p, space in spaces.items() if space == _namespace(self.pid) and p.pid != self.pid]

    def hide(self, folder: Path) -> None:
        """Put an empty folder in the place of one that the machines share: here it looks as if it were not there."""
        _run(*_enter(self.pid, "-m"), "mount", "-t", "tmpfs", "tmpfs", str(folder))

    def listening(self) -> set[tuple[Address, int]]:
        """Addresses and TCP ports that somebody listens on here."""
        found = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                address, _, port = local.partition(":")
                words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
                if state == LISTEN:
                    found.add((ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)), int(port, 16)))
        return found

    def kill_all(self) -> None:
        """SIGKILL for everything that runs here; the network stays, and tells others that nobody listens any more."""
        for process in self.processes():
            process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End it with all its processes."""
        self._holder.kill()
        self._holder.wait()


class Network:
    """A switch, and hosts that hang on it by a cable each."""

    def __init__(self) -> None:
        self._switch = Host("switch")
        self._hosts: dict[str, Host] = {}
        self._ip("link", "add", "name", "bridge", "type", "bridge")
        self._ip("link", "set", "dev", "bridge", "up")

    def add(self, name: str) -> Host:
        """A host more; its address is :meth:`address`."""
        host = self._hosts[name] = Host(name)
        self._ip("link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self._ip("link", "set", "dev", name, "master", "bridge", "up")
        for words in (f"addr add {self.address(name)}/24 dev eth0", "link set eth0 up", "route add default dev eth0"):
            _run(*_enter(host.pid, "-n"), "ip", *words.split())
        return host

    def address(self, name: str) -> str:
        return f"10.77.0.{list(self._hosts).index(name) + 1}"

    def cut(self, name: str) -> None:
        """Pull the host's cable: whatever is sent vanishes."""
        self._ip("link", "set", "dev", name, "down")

    def mend(self, name: str) -> None:
        """Put the cable back."""
        self._ip("link", "set", "dev", name, "up")

    def close(self) -> None:
        for host in (*self._hosts.values(), self._switch):
            host.close()

    def _ip(self, *words: str) -> None:
        _run(*_enter(self._switch.pid, "-n"), "ip", *words)


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts; in the end they go, whatever happened."""
    made = Network()
    try:
        yield made
    finally:
        made.close()


def start_node(host: Host, folder: Path, *role: str, **environment: str) -> None:
    """Start a node of Ray by the deployment's script, and wait for it; on a busy machine Ray may give up at first."""
    log = folder / f"{host.name}.log"
    command = [RAY_NODE, *role, "--block", "--num-cpus=1", "--object-store-memory=100000000"]
    for _ in range(STARTS):
        log.write_text("")
        process = host.start(command, log, RAY_AUTH_TOKEN_PATH=str(folder / "token"), **environment)
        while process.poll() is None:
            if "Ray runtime started" in log.read_text():
                return
            time.sleep(0.2)
        host.kill_all()
    raise AssertionError(log.read_text())


def clean_environment() -> dict[str, str]:
    """This process's, without what it knows of Ray; commands are those of its Python, modules those of its checkout."""
    strange = {name for name in os.environ if name.startswith(("RAY_", "MLFLOW_"))}
    kept = {name: value for name, value in os.environ.items() if name not in strange}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "RAY_worker_niceness": "0",
        "RAY_raylet_start_wait_time_s": "60",
    }


def _enter(pid: int, *namespaces: str) -> list[str]:
    return ["nsenter", "--target", str(pid), *namespaces, "--"]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _die_with_parent() -> None:
    """The kernel's ``prctl(PR_SET_PDEATHSIG, SIGKILL)``."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
