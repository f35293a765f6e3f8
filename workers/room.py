"""How many workers the machines of a cluster have room for: those that train, and those that only probe, on CPUs."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from workers.nodes import Node


@dataclass(frozen=True)
class Room:
    """Workers that there is room for.

    Attributes:
        training: those that take a GPU, or the share of one, where trainings do; they take everything.
        probing: those that take probes alone, without a GPU.
    """

    training: int
    probing: int = 0


def room(nodes: Collection[Node], threads: int, gpus: float, apart: bool, training: int | None = None) -> Room:
    """What machines can hold.

    Args:
        threads, gpus: CPUs and GPUs that a worker takes.
        apart: whether probes have workers of their own: what CPUs trainings leave on each machine.
        training: workers that train, where their number is given.
    """
    fitting = [_fitting(node, threads, gpus) for node in nodes]
    count = sum(fitting) if training is None else training
    if not apart:
        return Room(count)
    left = sum(int(node.cpus // threads) for node in nodes) - min(count, sum(fitting))
    return Room(count, left)


def share(used: int, total: int) -> float:
    """The share of a GPU that a worker takes which uses ``used`` of its ``total`` bytes, in Ray's steps of 0.0001.

    As many such workers as fit into nine tenths of its memory take a whole GPU; at least one, and at most a hundred:
    Ray's steps tell no more apart.
    """
    workers = min(100, max(1, math.floor(0.9 * total / used)))
    return math.floor(10_000 / workers) / 10_000


def _fitting(node: Node, threads: int, gpus: float) -> int:
    count = int(node.cpus // threads)
    return min(count, per_gpu(gpus, node.gpus)) if gpus else count


def per_gpu(gpus: float, there: float = 1.0) -> int:
    """Workers of so many GPUs that fit on those there; a share is of one GPU, and never of two."""
    return int(there // gpus) if gpus >= 1 else int(there) * int(1 / gpus)
