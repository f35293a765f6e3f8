"""Ray: a pool of long-lived worker processes that survive what their evaluations do to them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

from workers.connection import MEND, ClusterError, ClusterSettings, NoCluster, connect
from workers.evaluation import FAILED, Outcome, Request
from workers.nodes import answers, avoiding, nodes, strangers
from workers.reach import RemoteKeeper, start_keeper
from workers.versions import differences, own_versions

__all__ = ["ClusterError", "ClusterSettings", "NoCluster", "RayCluster", "driver_paths", "ready_process"]

Job = Callable[[Any], Any]
Builder = Callable[..., Job]

FAILED_STARTS = 3
"""Times in a row that a worker may fail to start before the run gives up: then it is the setup, not a machine."""

LOOK_SECONDS = 10.0
"""How often machines are counted, where workers are as many as there is room for."""

LOST = (RayActorError, ObjectLostError, WorkerCrashedError, NodeDiedError)
"""What Ray raises of a worker that is gone, or of a result that went with its machine."""


@dataclass(frozen=True)
class Greeting:
    """What a worker process says first.

    Attributes:
        name: its machine's address and its process.
        node: Ray's name of the machine.
    """

    name: str
    node: str
    versions: dict[str, str]


class Worker:
    """A process of the cluster: it holds one job, built once from shared objects, and runs it on item after item."""

    def __init__(self, paths: Sequence[str]) -> None:
        _add_paths(paths)
        self._job: Job | None = None

    def greet(self) -> Greeting:
        """Who it is; asked before anything that other versions could break."""
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return Greeting(f"{address}:{os.getpid()}", ray.get_runtime_context().get_node_id(), own_versions())

    def install(self, threads: int, deterministic: bool, build: Builder, *inputs: Any) -> None:
        """Build the job."""
        ready_process((), threads, deterministic)
        self._job = build(*inputs)

    def run(self, item: Any) -> Any:
        """The job's result for ``item``."""
        assert self._job is not None
        return self._job(item)


def ready_process(paths: Sequence[str], threads: int, deterministic: bool) -> None:
    """What a process of the cluster needs before it computes: the driver's modules, and the run's way of computing."""
    _add_paths(paths)
    import torch

    torch.set_num_threads(threads)
    if deterministic and torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def _add_paths(paths: Sequence[str]) -> None:
    sys.path += [path for path in paths if path not in sys.path]


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
    node: str = ""
    failed_starts: int = 0

    @property
    def free(self) -> bool:
        return self.starting is None and self.running is None


@dataclass(frozen=True)
class _Fault:
    """Why an item has no result.

    Attributes:
        error: what the job raised, if that is the reason.
        with_machine: whether the worker was lost with its whole machine, so that the item is not to blame.
    """

    reason: str
    message: str
    error: RayTaskError | None = None
    with_machine: bool = False


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
        settings: where and how many. On a running cluster, and without a number, workers are as many as there is room
            for at any time: machines that come are used, and what was at work on those that go is done elsewhere.
        limit: seconds that an item may take, from its start on a worker.
        modules: ``package.module:attribute`` of the user's own, which travel to the cluster.
        warn: told of machines that are not used.

    Raises:
        NoCluster: no cluster answers at the address.
        ClusterError: it has no room for a worker, or its machines have other versions than the driver.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        limit: Callable[[Any], float],
        modules: Iterable[str] = (),
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self._limit = limit
        self._warn = warn
        self._slots: list[_Slot] = []
        self._shared: list[tuple[Any, Any]] = []
        self._shunned: set[str] = set()
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._owns_ray = not ray.is_initialized()
        _add_paths([os.getcwd()])  # results may hold objects of the user's modules, which only workers have imported
        connect(settings, modules)
        try:
            if settings.address is not None:
                _refuse(list(strangers().values()))
            self.workers = settings.workers or _room_at_start(settings)
        except ClusterError:
            self.close()
            raise

    def use(self, build: Builder, *inputs: Any) -> None:
        """Give all workers a job: ``build(*inputs)``, called once in each; the object store shares the inputs."""
        self._shared = [(value, self.share(value)) for value in (build, *inputs)]
        if not self._slots:
            self._slots = [_Slot(None) for _ in range(self.workers)]
        for slot in self._slots:
            if slot.actor is None:
                self._start(slot)
            elif slot.node:
                self._install(slot)

    def idle(self) -> int:
        """Workers that would start a request at once."""
        return sum(slot.free for slot in self._slots)

    def states(self) -> dict[str, int]:
        """How many workers are ``busy``, ``idle`` and ``starting``; any thread may ask."""
        slots = self._slots
        starting = sum(slot.starting is not None for slot in slots)
        busy = sum(slot.running is not None for slot in slots)
        return {"busy": busy, "idle": len(slots) - starting - busy, "starting": starting}

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
                outcome = replace(outcome, with_machine=fault.with_machine)
            outcomes.append(replace(outcome, worker=slot.name))
        return outcomes

    def map(self, items: Sequence[Any]) -> list[Any]:
        """Results of the job for all items, in their order; lost workers are replaced and the item tried again.

        Raises:
            ClusterError: an item ran out of time, or lost its worker too often (workers that went with their machine
                do not count).
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
                tries[index] += not fault.with_machine
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
        slot = next(slot for slot in self._slots if slot.free)
        slot.ticket = ticket
        slot.started = time.monotonic()
        slot.deadline = slot.started + self._limit(item)
        slot.running = slot.actor.run.remote(item)

    def _events(self) -> list[_Event]:
        pending = [ref for slot in self._slots for ref in (slot.starting, slot.running) if ref is not None]
        deadline = min((slot.deadline for slot in self._slots if slot.running is not None), default=float("inf"))
        patience = min(max(0.0, deadline - time.monotonic()), LOOK_SECONDS)
        ray.wait(pending, num_returns=1, timeout=patience)
        ready = set(ray.wait(pending, num_returns=len(pending), timeout=0)[0])
        events = []
        for slot in self._slots:
            if slot.starting in ready:
                self._started(slot)
            elif slot.running in ready:
                events.append(self._ended(slot))
            elif slot.running is not None and time.monotonic() > slot.deadline:
                events.append(self._overdue(slot))
        self._use_new_machines()
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
        except LOST:
            fault = self._lost(slot)
            self._replace(slot)
        except RayTaskError as error:
            message = f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())}"[:500]
            fault = _Fault("error", message, error)
        return _Event(slot.ticket, slot, fault=fault)

    def _overdue(self, slot: _Slot) -> _Event:
        limit = slot.deadline - slot.started
        fault = _Fault("timeout", f"stopped after its limit of {limit:g} s")
        if not self._answers(slot):  # its result may have been there long since, on the other side
            fault = self._lost(slot)
        self._replace(slot)
        return _Event(slot.ticket, slot, fault=fault)

    def _lost(self, slot: _Slot) -> _Fault:
        if self._answers(slot):
            return _Fault("worker_lost", f"the worker process {slot.name} died")
        return _Fault("worker_lost", f"the worker {slot.name} went with its machine", with_machine=True)

    def _answers(self, slot: _Slot) -> bool:
        return self.settings.address is None or answers(slot.node)

    def _start(self, slot: _Slot) -> None:
        options: dict[str, Any] = {"num_cpus": self.settings.threads, "max_restarts": 0, "max_task_retries": 0}
        if self.settings.gpus_per_worker:
            options["num_gpus"] = self.settings.gpus_per_worker
        actor = ray.remote(Worker).options(**options, **avoiding(self._shunned))
        slot.actor, slot.node = actor.remote(driver_paths()), ""
        slot.starting = slot.actor.greet.remote()

    def _install(self, slot: _Slot) -> None:
        about = (self.settings.threads, self.settings.deterministic)
        slot.starting = slot.actor.install.remote(*about, *(reference for _, reference in self._shared))

    def _started(self, slot: _Slot) -> None:
        try:
            answer = ray.get(slot.starting)
        except RayTaskError as error:
            raise _cause(error) from error
        except (*LOST, RuntimeEnvSetupError) as error:
            slot.failed_starts += not slot.node or self._answers(slot)
            if slot.failed_starts >= FAILED_STARTS:
                raise ClusterError(f"workers die while they start: {' '.join(str(error).split())[:400]}") from None
            self._start(slot)
            return
        if isinstance(answer, Greeting):
            self._meet(slot, answer)
        else:
            slot.starting, slot.failed_starts = None, 0

    def _meet(self, slot: _Slot, greeting: Greeting) -> None:
        """Give a new worker its job, unless its machine came late and with other versions."""
        wrong = differences(own_versions(), greeting.versions)
        slot.name, slot.node = greeting.name, greeting.node
        if not wrong:
            self._install(slot)
            return
        if greeting.node not in self._shunned:
            self._shunned.add(greeting.node)
            self._warn(f"{greeting.name.rpartition(':')[0]} is not used: it has {wrong}; {MEND}")
        ray.kill(slot.actor)
        self._start(slot)

    def _use_new_machines(self) -> None:
        if self.settings.address is None or self.settings.workers is not None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        for _ in range(_room(self.settings, self._shunned) - len(self._slots)):
            self._slots.append(_Slot(None))
            self._start(self._slots[-1])
        self.workers = max(self.workers, len(self._slots))

    def _replace(self, slot: _Slot) -> None:
        slot.running, slot.deadline = None, float("inf")
        ray.kill(slot.actor)
        self._start(slot)


def _cause(error: RayTaskError) -> Exception:
    """What a job raised, without the worker's traceback in its message."""
    cause = error.cause
    if isinstance(cause, Exception) and type(cause).__module__.partition(".")[0] in ("search", "spaces", "workers"):
        return cause
    return ClusterError(f"a worker failed: {type(cause).__name__}: {' '.join(str(cause).split())[:500]}")


def _room(settings: ClusterSettings, shunned: Collection[str] = ()) -> int:
    """Workers that the machines there are can hold."""
    return sum(n.room(settings.threads, settings.gpus_per_worker) for n in nodes() if n.id not in shunned)


def _room_at_start(settings: ClusterSettings) -> int:
    count = _room(settings)
    if count < 1:
        there = ", ".join(f"{n.cpus:g} CPUs and {n.gpus:g} GPUs" for n in nodes())
        raise ClusterError(
            f"the cluster's machines have {there}, a worker needs {settings.threads} and "
            f"{settings.gpus_per_worker:g}; lower cluster.threads or cluster.gpus_per_worker, or say cluster.workers "
            "where machines come when they are asked for"
        )
    return count


def _refuse(strangers: Sequence[str]) -> None:
    if strangers:
        raise ClusterError(f"cluster.address: {'; '.join(strangers)}; {MEND}")
