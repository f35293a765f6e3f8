"""The way to a Ray cluster: one that runs already, with our code in the luggage, or one on this machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import AuthenticationError, GetTimeoutError

from workers.travel import LEFT_OUT, TooLarge, travelling

STARTS = 3
"""Tries to start Ray on this machine."""

MEND = "on that machine, in a checkout of the driver's commit, run `rm -f .venv/installed && make .venv/installed`"
"""Of other versions than the driver's."""

WORKERS, CPUS = "workers", "cpus"
"""Where probes run: on the workers that train, or on others that take no GPU."""

KNOCK_SECONDS = 10.0
"""For a cluster's head to accept a connection."""


class ClusterError(RuntimeError):
    """The cluster cannot be reached, its workers cannot start, or what all candidates need cannot be made there."""


class NoCluster(ClusterError):
    """No cluster answers at the address that was given."""


@dataclass(frozen=True)
class ClusterSettings:
    """Where and how workers run; the fields of :class:`search.config.ClusterConfig`, which documents them."""

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus_per_worker: float | None = None
    probes_on: str = WORKERS
    deterministic: bool = True
    retries: int = 2


def connect(settings: ClusterSettings, modules: Iterable[str]) -> None:
    """Connect this process to Ray, or start it here; nothing is done where that was done already.

    Args:
        modules: ``package.module:attribute`` of the user's own, which travel to the cluster with the project's code.

    Raises:
        NoCluster: no cluster answers at the address, or not to a search.
        ClusterError: Ray does not start on this machine, the cluster has another version of Ray or Python, or the
            modules are too large.
    """
    if ray.is_initialized():
        return
    if (settings.address or "").startswith("ray://"):
        raise NoCluster(
            f"cluster.address: {settings.address}: a search cannot use Ray Client; join this machine to the "
            "cluster by `deploy/ray-node worker HEAD:6379 --num-cpus=0`, and give HEAD:6379 or auto"
        )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray tells of every dead worker on standard output, also without logs of workers; here it is a row of the archive.
    ray._private.worker._worker_logs_enabled = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    try:
        if settings.address is None:
            _start_ray(num_cpus=_cpus(settings), include_dashboard=False, **options)
        else:
            _knock(settings.address)
            ray.init(address=settings.address, runtime_env=_code(modules), **options)
    except (OSError, OverflowError, AuthenticationError, GetTimeoutError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        if settings.address is None:
            raise ClusterError(f"cluster: Ray does not start on this machine ({reason})") from error
        if "ersion mismatch" in reason:
            raise ClusterError(f"cluster.address: {settings.address}: {reason}; {MEND}") from error
        raise NoCluster(
            f"cluster.address: no Ray cluster at {settings.address} ({reason}); check it with `ray status`, or leave "
            "it out for a cluster on this machine"
        ) from error


def _cpus(settings: ClusterSettings) -> int:
    """CPUs that Ray is to give away on this machine: those of the workers, and all where probes have their own."""
    there = os.cpu_count() or 1
    workers = settings.workers or max(1, there // settings.threads)
    return max(workers * settings.threads, there if settings.probes_on == CPUS else 0)


def _code(modules: Iterable[str]) -> dict[str, Any]:
    """Our part of Ray's runtime environment; none in a job that brings code in these fields, which Ray takes once."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if job.keys() & {"py_modules", "excludes"}:
        return {}
    try:
        return {"py_modules": travelling(modules), "excludes": list(LEFT_OUT)}
    except TooLarge as error:
        raise ClusterError(f"cluster.address: {error}") from None


def _start_ray(**options: Any) -> None:
    """Start Ray here; once more where a busy machine takes longer than the half minute that Ray waits for itself.

    Raises:
        RuntimeError: Ray does not come up.
    """
    for left in reversed(range(STARTS)):
        try:
            with _on_loopback():
                ray.init(address="local", **options)
            return
        except (OSError, OverflowError, GetTimeoutError, RuntimeError, ValueError):
            raise
        except Exception as error:  # Ray raises nothing narrower here
            ray.shutdown()  # type: ignore[no-untyped-call]
            if not left:
                raise RuntimeError(str(error)) from error


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray, while it starts, take this machine for one that no cluster reaches, as it takes every Mac.

    Whatever it starts then listens on 127.0.0.1 alone, and so does all that ``ray[default]`` starts besides, even
    without a dashboard: agents, and three ports of metrics that ask for no token.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before, was_set = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[name] = "0"  # for its processes
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[name]
        if was_set is not None:
            os.environ[name] = was_set


def _knock(address: str) -> None:
    """Raise OSError at once where nothing listens: Ray itself waits for minutes, and then ends the process."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
