"""Ray: a pool of long-lived worker processes that survive what their evaluations do to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
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

from workers.connection import CPUS, MEND, ClusterError, ClusterSettings, NoCluster, connect
from workers.evaluation import FAILED, PROBE, TRAIN, Outcome, Request
from workers.nodes import answers, avoiding, nodes, strangers
from workers.process import Builder, Greeting, Worker, add_paths, driver_paths
from workers.reach import RemoteKeeper, start_keeper
from workers.room import Room, room
from workers.slot import Event, Fault, Slot, Task, leisure
from workers.versions import differences, own_versions

__all__ = ["ClusterError", "ClusterSettings", "NoCluster", "RayCluster"]

FAILED_STARTS = 3
"""Times in a row that a worker may fail to start before the run gives up: then it is the setup, not a machine."""

QUICK_SECONDS = 1.0
"""A worker has the next probe at hand where they are shorter: the way to the driver and back would be a loss then."""

LOOK_SECONDS = 10.0
"""How often machines are counted, where workers are as many as there is room for."""

NOT_BEGUN = Fault("worker_lost", "its worker was lost before it began", with_machine=True)

LOST = (RayActorError, ObjectLostError, WorkerCrashedError, NodeDiedError)
"""What Ray raises of a worker that is gone, or of a result that went with its machine."""


class RayCluster:
    """Workers on a local or a running Ray cluster, behind the engine's interface.

    Args:
        settings: where and how many. On a running cluster, and without a number, workers are as many as there is room
            for at any time: machines that come are used, and what was at work on those that go is done elsewhere.
            Where no share of a GPU is given, a worker takes a whole one, if there are any, until :meth:`pack`.
        limit: seconds that an item may take, from its start on a worker.
        modules: ``package.module:attribute`` of the user's own, which travel to the cluster.
        warn: told of machines that are not used.

    Attributes:
        settings: as given, with the share of a GPU that a worker takes now.
        measures: whether that share is yet to be measured, for :meth:`pack`.

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
        self._limit = limit
        self._warn = warn
        self._slots: list[Slot] = []
        self._shared: list[tuple[Any, Any]] = []
        self._shunned: set[str] = set()
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._probe_seconds = float("inf")
        self._owns_ray = not ray.is_initialized()
        add_paths([os.getcwd()])  # results may hold objects of the user's modules, which only workers have imported
        connect(settings, modules)
        try:
            if settings.address is not None:
                _refuse(list(strangers().values()))
            self.measures = settings.gpus_per_worker is None and any(node.gpus >= 1 for node in nodes())
            self.settings = replace(settings, gpus_per_worker=settings.gpus_per_worker or float(self.measures))
            self._room = self._room_at_start()
        except ClusterError:
            self.close()
            raise

    def use(self, build: Builder, *inputs: Any) -> None:
        """Give all workers a job: ``build(*inputs)``, called once in each; the object store shares the inputs."""
        self._shared = [(value, self.share(value)) for value in (build, *inputs)]
        if not self._slots:
            self._slots = [Slot(probing) for probing in _kinds(self._room)]
        for slot in self._slots:
            if slot.actor is None:
                self._start(slot)
            elif slot.node:
                self._install(slot)

    @property
    def workers(self) -> int:
        """Most workers that there were room for until now."""
        return self._room.training + self._room.probing

    def pack(self, share: float) -> None:
        """From the next job on a worker takes this share of a GPU, which may be none.

        For clusters that :attr:`measures` GPUs, and between two jobs.
        """
        self.settings, self.measures = replace(self.settings, gpus_per_worker=share), False
        self.release()
        self._room = self._room_at_start()

    def idle(self, stage: str = TRAIN, behind: bool = False) -> int:
        """Workers that would start a request of a stage at once; or, with ``behind``, after a quick one before it."""
        return sum(1 for _ in self._takers(stage, behind))

    def states(self) -> dict[str, int]:
        """How many workers are ``busy``, ``idle`` and ``starting``; any thread may ask."""
        slots = self._slots
        starting = sum(slot.starting is not None for slot in slots)
        busy = sum(slot.running is not None for slot in slots)
        return {"busy": busy, "idle": len(slots) - starting - busy, "starting": starting}

    def submit(self, request: Request) -> None:
        """Start a request on a free worker, or else have one begin it next."""
        self._submit(request, request, next(self._takers(request.stage, behind=True)))

    def wait(self) -> list[Outcome]:
        """Block until something has happened; outcomes of the requests that ended, possibly none."""
        outcomes = []
        for event in self._events():
            outcome, fault = event.result, event.fault
            if fault is not None:
                outcome = Outcome(
                    event.ticket.number,
                    FAILED,
                    fault.reason,
                    fault.message,
                    seconds=event.seconds,
                    attempts=int(fault is not NOT_BEGUN),
                    with_machine=fault.with_machine,
                )
            elif event.ticket.stage == PROBE:
                self._probe_seconds = outcome.seconds
            outcomes.append(replace(outcome, worker=event.worker))
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
                self._submit(items[index], index, next(self._takers(TRAIN)))
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

    @property
    def _apart(self) -> bool:
        """Whether probes have workers of their own; where nothing takes a GPU they need none."""
        return self.settings.probes_on == CPUS and bool(self.settings.gpus_per_worker)

    def _takers(self, stage: str, behind: bool = False) -> Iterator[Slot]:
        """Workers for a request of a stage, the free ones first."""
        own = [slot for slot in self._slots if not self._apart or slot.probing == (stage == PROBE)]
        yield from (slot for slot in own if slot.free)
        if behind and self._probe_seconds < QUICK_SECONDS and stage == PROBE:
            yield from (slot for slot in own if slot.running and slot.behind is None and _probes(slot.running))

    def _submit(self, item: Any, ticket: Any, slot: Slot) -> None:
        slot.take(Task(ticket, item, self._limit(item)))

    def _events(self) -> list[Event]:
        pending = [reference for slot in self._slots for reference in slot.references]
        deadline = min((slot.deadline for slot in self._slots), default=float("inf"))
        patience = min(max(0.0, deadline - time.monotonic()), LOOK_SECONDS)
        ray.wait(pending, num_returns=1, timeout=patience)
        ready = set(ray.wait(pending, num_returns=len(pending), timeout=leisure(self._slots, self._probe_seconds))[0])
        events = []
        for slot in self._slots:
            if slot.starting in ready:
                self._started(slot)
            elif slot.running is not None and slot.running.reference in ready:
                events += self._ended(slot, slot.running.reference)
            elif time.monotonic() > slot.deadline:
                events += self._overdue(slot)
        self._use_new_machines()
        return events

    def _ended(self, slot: Slot, reference: Any) -> list[Event]:
        try:
            result = ray.get(reference)
        except OutOfMemoryError:
            # Ray stops workers when the machine is full, whoever filled it: the candidate need not be the culprit.
            message = f"Ray stopped {slot.name}: its machine ran low on memory; see limits.memory_mb"
            return self._replace(slot, Fault("worker_lost", message))
        except LOST:
            return self._replace(slot, self._lost(slot))
        except RayTaskError as error:
            message = f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())}"[:500]
            return [_ended(slot, fault=Fault("error", message, error))]
        return [_ended(slot, result)]

    def _overdue(self, slot: Slot) -> list[Event]:
        fault = Fault("timeout", f"stopped after its limit of {slot.deadline - slot.started:g} s")
        if not self._answers(slot):  # its result may have been there long since, on the other side
            fault = self._lost(slot)
        return self._replace(slot, fault)

    def _lost(self, slot: Slot) -> Fault:
        if self._answers(slot):
            return Fault("worker_lost", f"the worker process {slot.name} died")
        return Fault("worker_lost", f"the worker {slot.name} went with its machine", with_machine=True)

    def _answers(self, slot: Slot) -> bool:
        return self.settings.address is None or answers(slot.node)

    def _start(self, slot: Slot) -> None:
        options: dict[str, Any] = {"num_cpus": self.settings.threads, "max_restarts": 0, "max_task_retries": 0}
        if self.settings.gpus_per_worker and not slot.probing:
            options["num_gpus"] = self.settings.gpus_per_worker
        actor = ray.remote(Worker).options(**options, **avoiding(self._shunned))
        slot.actor, slot.node = actor.remote(driver_paths()), ""
        slot.starting = slot.actor.greet.remote()

    def _install(self, slot: Slot) -> None:
        about = (self.settings.threads, self.settings.deterministic)
        slot.starting = slot.actor.install.remote(*about, *(reference for _, reference in self._shared))

    def _started(self, slot: Slot) -> None:
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

    def _meet(self, slot: Slot, greeting: Greeting) -> None:
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
        now = self._room_now()
        there = sum(not slot.probing for slot in self._slots), sum(slot.probing for slot in self._slots)
        for probing in _kinds(Room(max(0, now.training - there[0]), max(0, now.probing - there[1]))):
            self._slots.append(Slot(probing))
            self._start(self._slots[-1])
        most = self._room
        self._room = Room(max(most.training, now.training), max(most.probing, now.probing))

    def _room_now(self) -> Room:
        machines = [node for node in nodes() if node.id not in self._shunned]
        s = self.settings
        return room(machines, s.threads, s.gpus_per_worker or 0.0, self._apart, s.workers)

    def _room_at_start(self) -> Room:
        found = self._room_now()
        if found.training < 1 or (self._apart and found.probing < 1):
            there = ", ".join(f"{n.cpus:g} CPUs and {n.gpus:g} GPUs" for n in nodes())
            apart = ", besides one that probes without GPUs" if self._apart else ""
            raise ClusterError(
                f"the cluster's machines have {there}, a worker needs {self.settings.threads} and "
                f"{self.settings.gpus_per_worker:g}{apart}; lower cluster.threads or cluster.gpus_per_worker, or say "
                "cluster.workers where machines come when they are asked for"
            )
        return found

    def _replace(self, slot: Slot, fault: Fault) -> list[Event]:
        seconds, worker = slot.seconds, slot.name
        running, *behind = slot.empty()
        ray.kill(slot.actor)
        self._start(slot)
        events = [Event(task.ticket, 0.0, worker, fault=NOT_BEGUN) for task in behind]
        return [Event(running.ticket, seconds, worker, fault=fault), *events]


def _ended(slot: Slot, result: Any = None, fault: Fault | None = None) -> Event:
    seconds = slot.seconds
    return Event(slot.end().ticket, seconds, slot.name, result, fault)


def _probes(task: Task) -> bool:
    return isinstance(task.item, Request) and task.item.stage == PROBE


def _cause(error: RayTaskError) -> Exception:
    """What a job raised, without the worker's traceback in its message."""
    cause = error.cause
    if isinstance(cause, Exception) and type(cause).__module__.partition(".")[0] in ("search", "spaces", "workers"):
        return cause
    return ClusterError(f"a worker failed: {type(cause).__name__}: {' '.join(str(cause).split())[:500]}")


def _kinds(room: Room) -> list[bool]:
    """Of each worker whether it only probes."""
    return [False] * room.training + [True] * room.probing


def _refuse(strangers: Sequence[str]) -> None:
    if strangers:
        raise ClusterError(f"cluster.address: {'; '.join(strangers)}; {MEND}")
