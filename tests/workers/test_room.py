"""Room for workers: no machine is asked for more than it has, and nothing is left that would do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.nodes import Node
from workers.room import Room, per_gpu, room, share

machines = st.lists(
    st.builds(
        lambda cpus, gpus: Node("id", "host", 1, float(cpus), float(gpus)), st.integers(0, 64), st.integers(0, 8)
    ),
    min_size=1,
    max_size=5,
)
threads = st.integers(1, 8)
gpu_shares = st.one_of(st.integers(1, 4).map(float), st.integers(1, 40).map(lambda n: int(10_000 / n) / 10_000))


@given(machines, threads, gpu_shares)
def test_every_machine_is_full_and_none_is_overfull(nodes: list[Node], threads: int, gpus: float) -> None:
    for node in nodes:
        found = room([node], threads, gpus, apart=False).training
        assert found * threads <= node.cpus
        assert found * gpus <= node.gpus + 1e-9
        more_cpus = node.cpus - found * threads >= threads
        whole = node.gpus - found * gpus if gpus >= 1 else node.gpus - -(-found // per_gpu(gpus))
        in_part = gpus < 1 and found % per_gpu(gpus) != 0
        assert not (more_cpus and (whole >= max(1.0, gpus) or in_part))
    total = sum(room([node], threads, gpus, apart=False).training for node in nodes)
    assert room(nodes, threads, gpus, apart=False) == Room(total)


@given(machines, threads, gpu_shares)
def test_probes_of_their_own_get_the_cpus_that_trainings_leave(nodes: list[Node], threads: int, gpus: float) -> None:
    found = room(nodes, threads, gpus, apart=True)
    assert found.training == room(nodes, threads, gpus, apart=False).training
    assert found.training + found.probing == sum(int(node.cpus) // threads for node in nodes)


def test_a_given_number_trains_wherever_machines_come_from() -> None:
    node = Node("id", "host", 1, 4.0, 1.0)
    assert room([node], 1, 0.5, apart=True, training=1) == Room(1, 3)
    assert room([], 1, 1.0, apart=False, training=16) == Room(16)


@given(st.integers(1, 200 * 2**30), st.integers(1, 200 * 2**30))
def test_workers_that_share_a_gpu_fit_into_its_memory(used: int, total: int) -> None:
    part = share(used, total)
    workers = per_gpu(part)
    assert 0 < part <= 1
    assert workers * part <= 1 + 1e-9
    assert workers == 1 or workers * used <= 0.9 * total
    assert workers == 100 or (workers + 1) * used > 0.9 * total
