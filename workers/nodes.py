"""Machines of a Ray cluster: which there are, whether one still answers, and whether it has what the driver has."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.versions import MISSING, PACKAGES, differences, own_versions

ANSWER_SECONDS = 3.0
"""For a machine to accept a connection."""

GREET_SECONDS = 60.0
"""For all machines to say what they have; a worker asks those again that take longer, before it does anything."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's name of it.
        address: of its node manager, and ``port``.
    """

    id: str
    address: str
    port: int
    cpus: float
    gpus: float


def nodes() -> list[Node]:
    """All machines that Ray takes to be alive."""
    rows = ray.nodes()  # type: ignore[no-untyped-call]
    return [_node(row) for row in rows if row["Alive"]]


def _node(row: Mapping[str, Any]) -> Node:
    has = row["Resources"]
    address, port = row["NodeManagerAddress"], int(row["NodeManagerPort"])
    return Node(row["NodeID"], address, port, has.get("CPU", 0.0), has.get("GPU", 0.0))


def answers(node: str) -> bool:
    """Whether the machine is there: Ray itself waits half a minute and more before it gives one up."""
    found = next((other for other in nodes() if other.id == node), None)
    if found is None:
        return False
    try:
        socket.create_connection((found.address, found.port), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def avoiding(shunned: Collection[str]) -> dict[str, Any]:
    """Options of an actor that is not to run on these machines."""
    if not shunned:
        return {}
    return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(shunned))})"}}


def strangers() -> dict[str, str]:
    """Machines that have other versions than the driver: what is wrong with each, by its id."""
    here = own_versions()
    asked = {node: _ask(node.id) for node in nodes()}
    ready = set(ray.wait(list(asked.values()), num_returns=len(asked), timeout=GREET_SECONDS)[0])
    found = {}
    for node, reference in asked.items():
        wrong = differences(here, _answer(reference)) if reference in ready else ""
        if wrong:
            found[node.id] = f"{node.address} has {wrong}"
    return found


def _ask(node: str) -> Any:
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": place}
    return ray.remote(own_versions).options(**options).remote()


def _answer(reference: Any) -> dict[str, str]:
    """Its versions. A machine that goes meanwhile has none that are wrong; one that fails lacks what it needs."""
    try:
        versions: dict[str, str] = ray.get(reference, timeout=ANSWER_SECONDS)
    except ray.exceptions.RayTaskError:
        return dict.fromkeys(PACKAGES, MISSING)
    except (RayError, GetTimeoutError):
        return own_versions()
    return versions
