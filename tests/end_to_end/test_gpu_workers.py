"""Who computes on what, on a cluster that says it has GPUs: Ray counts them, nobody looks whether they are there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
import ray
from ray.cluster_utils import Cluster

from search.engine import run_engine
from spaces.genome import Genome
from workers.cluster import ClusterSettings, RayCluster
from workers.connection import CPUS
from workers.evaluation import OK, PROBE, TRAIN, Evaluation, Outcome, Request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

COUNT = 40


class Mixed:
    """A plan of probes and trainings in turn."""

    def ask(self, number: int) -> Request | None:
        stage = TRAIN if number % 4 == 3 else PROBE
        return Request(number, stage, Genome((), 1.0, (1.0,), ()), "test") if number < COUNT else None

    def tell(self, evaluation: Evaluation) -> None: ...


class Kept(list[Evaluation]):
    append = list.extend  # type: ignore[assignment]


def where() -> Callable[[Request], Outcome]:
    """A job whose result is where it ran."""

    def run(request: Request) -> Outcome:
        time.sleep(0.05)
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        has_gpu = any(resource == "GPU" for resource in ray.get_runtime_context().get_assigned_resources())
        node = ray.get_runtime_context().get_node_id()
        return Outcome(request.number, OK, message=f"{node} {seen or '-'} {has_gpu}", seconds=0.01)

    return run


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[str, dict[str, str]]]:
    """A machine with a GPU and three CPUs, and one with two CPUs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 1})
    other = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster.address, {"gpu": cluster.head_node.node_id, "cpu": other.node_id}
    ray.shutdown()
    cluster.shutdown()


def idle(cluster: RayCluster) -> int:
    """Free workers, each counted once."""
    free = cluster.idle(TRAIN), cluster.idle(PROBE)
    return sum(free) if cluster.settings.probes_on == CPUS and cluster.settings.gpus_per_worker else free[0]


def places(
    address: str, share: float | None, probes_on: str, pack: float | None = None
) -> dict[str, set[tuple[str, ...]]]:
    """Where each stage ran: machine, visible GPUs, and whether Ray counts a GPU as taken."""
    cluster = RayCluster(ClusterSettings(address, gpus_per_worker=share, probes_on=probes_on), lambda _: 60.0)
    try:
        assert cluster.measures == (share is None)
        if pack is not None:
            cluster.pack(pack)
        cluster.use(where)
        while idle(cluster) < cluster.workers:
            cluster.wait()
        kept = Kept()
        assert run_engine(Mixed(), cluster, kept, 12) == COUNT
        found: dict[str, set[tuple[str, ...]]] = {}
        for e in kept:
            found.setdefault(e.request.stage, set()).add(tuple(e.outcome.message.split()))
        return found
    finally:
        cluster.close()
        ray.shutdown()


def test_probes_on_cpus_run_on_all_machines_and_trainings_on_gpus(nodes: tuple[str, dict[str, str]]) -> None:
    address, ids = nodes
    found = places(address, 0.5, CPUS)
    assert found[TRAIN] == {(ids["gpu"], "0", "True")}
    assert found[PROBE] == {(ids["gpu"], "-", "False"), (ids["cpu"], "-", "False")}


def test_workers_share_a_gpu_and_do_all(nodes: tuple[str, dict[str, str]]) -> None:
    address, ids = nodes
    everything = {(ids["gpu"], "0", "True")}
    assert places(address, None, "workers", pack=0.3333) == {TRAIN: everything, PROBE: everything}


def test_without_a_share_nobody_sees_a_gpu(nodes: tuple[str, dict[str, str]]) -> None:
    address, ids = nodes
    found = places(address, 0.0, CPUS)
    assert {seen for stage in found.values() for _, seen, _ in stage} == {"-"}
    assert {node for stage in found.values() for node, _, _ in stage} == set(ids.values())
