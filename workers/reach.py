"""Ray's part in :mod:`workers.shelf`: a process beside the driver that other machines ask for the run's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.shelf import Detached, FolderKeeper


class RemoteKeeper:
    """The :class:`workers.shelf.Keeper` as other machines have it. All methods end the process where nobody answers."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def stamp(self, name: str) -> tuple[int, int] | None:
        return self._ask(self._actor.stamp.remote, name)  # type: ignore[no-any-return]

    def read(self, name: str) -> bytes | None:
        return self._ask(self._actor.read.remote, name)  # type: ignore[no-any-return]

    def write(self, name: str, content: bytes) -> None:
        self._ask(self._actor.write.remote, name, content)

    def remove(self, name: str) -> None:
        self._ask(self._actor.remove.remote, name)

    def _ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ray.get(method(*arguments))
        except RayError as error:
            raise Detached(f"the run's folder cannot be asked: {' '.join(str(error).split())[:300]}") from error


def start_keeper(folder: Path) -> RemoteKeeper:
    """Start the process on this node. It takes no core, comes again where it dies, and goes with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return RemoteKeeper(ray.remote(FolderKeeper).options(**options).remote(folder))
