"""Ray: a pool of long-lived worker processes that survive what their evaluations do to them."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayTaskError

from workers.evaluation import FAILED, Outcome, Request
from workers.reach import RemoteKeeper, start_keeper

Job = Callable[[Any], Any]
Builder = Callable[..., Job]

STARTS = 3
"""Tries to start Ray on this machine."""

KNOCK_SECONDS = 10.0
"""For a cluster's head to accept a connection."""

FAILED_STARTS = 3
"""Workers that may fail to start in a row before the run gives up: then it is the setup, not a machine."""


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
    gpus_per_worker: float = 0.0
    deterministic: bool = True
    retries: int = 2


class Worker:
    """A process of the cluster: it holds one job, built once from shared objects, and runs it on item after item."""

    def __init__(self, paths: Sequence[str], threads: int, deterministic: bool) -> None:
        ready_process(paths, threads, deterministic)
        self._job: Job | None = None

    def install(self, build: Builder, *inputs: Any) -> str:
        """Build the job; the worker's name."""
        self._job = build(*inputs)
        node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return f"{node}:{os.getpid()}"

    def run(self, item: Any) -> Any:
        """The job's result for ``item``."""
        assert self._job is not None
        return self._job(item)


def ready_process(paths: Sequence[str], threads: int, deterministic: bool) -> None:
    """What a process of the cluster needs before it computes: the driver's modules, and the run's way of computing."""
    for path in paths:
        if path not in sys.path:
            sys.path.append(path)
    import torch

    torch.set_num_threads(threads)
    if deterministic and torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def driver_paths() -> list[str]:
    """Where the driver finds its modules."""
    return [os.getcwd(), *[p for p in sys.path if p]]


@dataclass
class _Slot:
    """A place for one worker process; the process may be replaced, the place stays."""

    actor: Any
    starting: Any = None
    running: Any = None
    ticket: Any = None
    started: float = 0.0
    deadline: float = float("inf")
    name: str = ""


@dataclass(frozen=True)
class _Fault:
    """Why an item has no result; ``error`` is what the job raised, if that is the reason."""

    reason: str
    message: str
    error: RayTaskError | None = None


@dataclass(frozen=True)
class _Event:
    """The end of what was submitted under ``ticket``."""

    ticket: Any
    slot: _Slot
    result: Any = None
    fault: _Fault | None = None


class RayCluster:
    """Workers on a local or a running Ray cluster, behind the engine's interface.

    Args:
        settings: where and how many.
        limit: seconds that an item may take, from its start on a worker.

    Raises:
        NoCluster: no cluster answers at the address.
        ClusterError: it has no room for a worker.
    """

    def __init__(self, settings: ClusterSettings, limit: Callable[[Any], float]) -> None:
        self.settings = settings
        self._limit = limit
        self._slots: list[_Slot] = []
        self._shared: list[tuple[Any, Any]] = []
        self._failed_starts = 0
        self._owns_ray = not ray.is_initialized()
        _connect(settings)
        self.workers = settings.workers or _default_workers(settings)

    def use(self, build: Builder, *inputs: Any) -> None:
        """Give all workers a job: ``build(*inputs)``, called once in each; the object store shares the inputs."""
        self._shared = [(value, self.share(value)) for value in (build, *inputs)]
        if not self._slots:
            self._slots = [_Slot(None) for _ in range(self.workers)]
        for slot in self._slots:
            if slot.actor is None:
                self._start(slot)
            else:
                self._install(slot)

    def idle(self) -> int:
        """Workers that would start a request at once."""
        return sum(slot.starting is None and slot.running is None for slot in self._slots)

    def submit(self, request: Request) -> None:
        """Start a request on a free worker."""
        self._submit(request, ticket=request)

    def wait(self) -> list[Outcome]:
        """Block until something has happened; outcomes of the requests that ended, possibly none."""
        outcomes = []
        for event in self._events():
            outcome, slot, fault = event.result, event.slot, event.fault
            if fault is not None:
                taken = time.monotonic() - slot.started
                outcome = Outcome(event.ticket.number, FAILED, fault.reason, fault.message, seconds=taken)
            outcomes.append(replace(outcome, worker=slot.name))
        return outcomes

    def map(self, items: Sequence[Any]) -> list[Any]:
        """Results of the job for all items, in their order; lost workers are replaced and the item tried again.

        Raises:
            ClusterError: an item ran out of time, or lost its worker too often.
            Exception: what the job raised; as a ClusterError where it is none of our own classes.
        """
        waiting = list(range(len(items)))[::-1]
        results: dict[int, Any] = {}
        tries = [0] * len(items)
        while len(results) < len(items):
            while waiting and self.idle():
                index = waiting.pop()
                self._submit(items[index], ticket=index)
            for event in self._events():
                index, fault = event.ticket, event.fault
                if fault is None:
                    results[index] = event.result
                    continue
                if fault.error is not None:
                    raise _cause(fault.error) from fault.error
                tries[index] += 1
                if fault.reason != "worker_lost" or tries[index] > self.settings.retries:
                    raise ClusterError(f"{fault.reason}: {fault.message}")
                waiting.append(index)
        return [results[i] for i in range(len(items))]

    def release(self) -> None:
        """Stop the workers, so that others can have their cores and GPUs; :meth:`use` starts them again."""
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        self._slots = []

    def close(self) -> None:
        """Stop the workers, and the local cluster if it was started here."""
        self.release()
        if self._owns_ray:
            ray.shutdown()

    def keeper(self, folder: Path) -> RemoteKeeper | None:
        """Who hands out files of ``folder`` to machines that do not see it; ``None`` where there is only this one."""
        return None if self.settings.address is None else start_keeper(folder)

    def share(self, value: Any) -> Any:
        """A reference to ``value`` in the object store: the one there is, where the job before was given it as well."""
        known = (reference for shared, reference in self._shared if shared is value)
        return next(known, None) or ray.put(value)

    def _submit(self, item: Any, ticket: Any) -> None:
        slot = next(s for s in self._slots if s.starting is None and s.running is None)
        slot.ticket = ticket
        slot.started = time.monotonic()
        slot.deadline = slot.started + self._limit(item)
        slot.running = slot.actor.run.remote(item)

    def _events(self) -> list[_Event]:
        pending = [ref for slot in self._slots for ref in (slot.starting, slot.running) if ref is not None]
        deadline = min((slot.deadline for slot in self._slots if slot.running is not None), default=float("inf"))
        patience = min(max(0.0, deadline - time.monotonic()), 60.0)
        ray.wait(pending, num_returns=1, timeout=patience)
        ready = set(ray.wait(pending, num_returns=len(pending), timeout=0)[0])
        events = []
        for slot in self._slots:
            if slot.starting in ready:
                self._started(slot)
            elif slot.running in ready:
                events.append(self._ended(slot))
            elif slot.running is not None and time.monotonic() > slot.deadline:
                limit = slot.deadline - slot.started
                fault = _Fault("timeout", f"stopped after its limit of {limit:g} s")
                events.append(_Event(slot.ticket, slot, fault=fault))
                self._replace(slot)
        return events

    def _ended(self, slot: _Slot) -> _Event:
        reference, slot.running = slot.running, None
        try:
            return _Event(slot.ticket, slot, ray.get(reference))
        except OutOfMemoryError:
            # Ray stops workers when the machine is full, whoever filled it: the candidate need not be the culprit.
            message = f"Ray stopped {slot.name}: its machine ran low on memory; see limits.memory_mb"
            fault = _Fault("worker_lost", message)
            self._replace(slot)
        except RayActorError:
            fault = _Fault("worker_lost", f"the worker process {slot.name} died")
            self._replace(slot)
        except RayTaskError as error:
            message = f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())}"[:500]
            fault = _Fault("error", message, error)
        return _Event(slot.ticket, slot, fault=fault)

    def _start(self, slot: _Slot) -> None:
        options: dict[str, Any] = {"num_cpus": self.settings.threads, "max_restarts": 0, "max_task_retries": 0}
        if self.settings.gpus_per_worker:
            options["num_gpus"] = self.settings.gpus_per_worker
        actor = ray.remote(Worker).options(**options)
        slot.actor = actor.remote(driver_paths(), self.settings.threads, self.settings.deterministic)
        self._install(slot)

    def _install(self, slot: _Slot) -> None:
        slot.starting = slot.actor.install.remote(*(reference for _, reference in self._shared))

    def _started(self, slot: _Slot) -> None:
        try:
            slot.name = ray.get(slot.starting)
            slot.starting = None
            self._failed_starts = 0
        except RayTaskError as error:
            raise _cause(error) from error
        except RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                raise ClusterError(f"workers die while they start: {' '.join(str(error).split())[:400]}") from None
            self._start(slot)

    def _replace(self, slot: _Slot) -> None:
        slot.running, slot.deadline = None, float("inf")
        ray.kill(slot.actor)
        self._start(slot)


def _connect(settings: ClusterSettings) -> None:
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray tells of every dead worker on standard output, also without logs of workers; here it is a row of the archive.
    ray._private.worker._worker_logs_enabled = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    try:
        if settings.address is None:
            workers = settings.workers or max(1, (os.cpu_count() or 1) // settings.threads)
            _start_ray(num_cpus=workers * settings.threads, include_dashboard=False, **options)
        else:
            _knock(settings.address)
            ray.init(address=settings.address, **options)
    except (OSError, OverflowError, GetTimeoutError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        if settings.address is None:
            raise ClusterError(f"cluster: Ray does not start on this machine ({reason})") from error
        raise NoCluster(
            f"cluster.address: no Ray cluster at {settings.address} ({reason}); check it with `ray status`, or leave "
            "it out for a cluster on this machine"
        ) from error


def _start_ray(**options: Any) -> None:
    """Start Ray here; once more where a busy machine takes longer than the half minute that Ray waits for itself.

    Raises:
        RuntimeError: Ray does not come up.
    """
    for left in reversed(range(STARTS)):
        try:
            ray.init(address="local", **options)
            return
        except (OSError, OverflowError, GetTimeoutError, RuntimeError, ValueError):
            raise
        except Exception as error:  # Ray raises nothing narrower here
            ray.shutdown()  # type: ignore[no-untyped-call]
            if not left:
                raise RuntimeError(str(error)) from error


def _knock(address: str) -> None:
    """Raise OSError at once where nothing listens: Ray itself waits for minutes, and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _cause(error: RayTaskError) -> Exception:
    """What a job raised, without the worker's traceback in its message."""
    cause = error.cause
    if isinstance(cause, Exception) and type(cause).__module__.partition(".")[0] in ("search", "spaces", "workers"):
        return cause
    return ClusterError(f"a worker failed: {type(cause).__name__}: {' '.join(str(cause).split())[:500]}")


def _default_workers(settings: ClusterSettings) -> int:
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    count = int(resources.get("CPU", 0) // settings.threads)
    if settings.gpus_per_worker:
        count = min(count, int(resources.get("GPU", 0) / settings.gpus_per_worker))
    if count < 1:
        raise ClusterError(
            f"the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, a worker needs "
            f"{settings.threads} and {settings.gpus_per_worker:g}; lower cluster.threads or cluster.gpus_per_worker"
        )
    return count
