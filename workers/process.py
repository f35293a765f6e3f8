"""A worker process: what it says first, the job that it holds, and what it needs before it computes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from workers.allocator import keep_freed_memory
from workers.versions import own_versions

Job = Callable[[Any], Any]
Builder = Callable[..., Job]


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
        add_paths(paths)
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
    """What a process of the cluster needs before it computes: the driver's modules, and the run's way of computing.

    One that was given no GPU sees none: else results would depend on the machine that it happens to run on.
    """
    if not ray.get_gpu_ids():  # type: ignore[no-untyped-call]
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    add_paths(paths)
    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)
    if deterministic and torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def add_paths(paths: Sequence[str]) -> None:
    """Let this process find modules there too."""
    sys.path += [path for path in paths if path not in sys.path]


def driver_paths() -> list[str]:
    """Where the driver finds its modules."""
    return [os.getcwd(), *[p for p in sys.path if p]]
