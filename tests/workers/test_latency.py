"""The order of measurements, the statistics and the recorded conditions; never how long anything takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from workers.measure import latency
from workers.measure.latency import measure_latency, median_interval


class Noted(nn.Module):
    """Writes down when it ran, with how many threads and on what."""

    def __init__(self, name: str, log: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.name, self.log = name, log
        self.layer = nn.Linear(4, 2)

    def __deepcopy__(self, memo: dict[int, object]) -> Noted:
        return Noted(self.name, self.log)

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.log.append((self.name, torch.get_num_threads(), len(images)))
        return self.layer(images.flatten(1))  # type: ignore[no-any-return]


def test_networks_take_turns_under_the_recorded_conditions() -> None:
    log: list[tuple[str, int, int]] = []
    threads = torch.get_num_threads()
    base = Noted("base", log).train()
    taken = measure_latency(
        {"base": base, "small": Noted("small", log)}, (1, 2, 2), 3, repeats=6, warmup=2, threads=threads + 1
    )
    assert torch.get_num_threads() == threads
    assert base.training
    names = [name for name, *_ in log]
    assert names == ["base"] * 2 + ["small"] * 2 + ["base", "small", "small", "base"] * 3
    assert {entry[1:] for entry in log} == {(threads + 1, 3)}
    conditions = taken["small"].conditions
    assert (conditions.dtype, conditions.threads, conditions.batch_size) == ("float32", threads + 1, 3)
    assert (conditions.shape, conditions.repeats, conditions.warmup) == ((1, 2, 2), 6, 2)
    assert conditions.device.startswith("cpu (")
    assert taken["small"].reference == "base"


def test_ratios_are_of_neighbours_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down tenfold half-way changes every median but no ratio."""
    base, small = nn.Identity(), nn.ReLU()
    drift = iter([1.0] * 20 + [10.0] * 20)
    monkeypatch.setattr(latency, "_cpu_ms", lambda net, _: next(drift) * (4.0 if isinstance(net, nn.Identity) else 1.0))
    taken = measure_latency({"small": small, "base": base}, (1, 1, 1), 1, repeats=20, warmup=0, reference="base")
    assert (taken["small"].ratio.low, taken["small"].ratio.median, taken["small"].ratio.high) == (0.25, 0.25, 0.25)
    assert (taken["small"].ms.low, taken["small"].ms.high) == (1.0, 10.0)
    assert taken["base"].ratio.median == 1.0
    assert taken["base"].median_ms == 22.0


@pytest.mark.parametrize(
    ("count", "ranks"), [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))]
)
def test_interval_ranks_are_the_tabulated_ones(count: int, ranks: tuple[int, int]) -> None:
    """Ranks of the sign-test interval, as in any table of nonparametric statistics; and their coverage."""
    interval = median_interval([float(v) for v in range(count, 0, -1)])
    assert (interval.low, interval.high) == ranks
    assert interval.median == (count + 1) / 2
    outside = 2 * sum(math.comb(count, k) for k in range(ranks[0])) / 2**count
    assert outside <= 0.05


def test_bad_requests_are_refused() -> None:
    networks = {"a": nn.Identity()}
    with pytest.raises(ValueError, match="at least 6"):
        measure_latency(networks, (1, 1, 1), 1, repeats=5)
    with pytest.raises(ValueError, match="'b' is not among"):
        measure_latency(networks, (1, 1, 1), 1, reference="b")
    with pytest.raises(ValueError, match="no networks"):
        measure_latency({}, (1, 1, 1), 1)
    with pytest.raises(ValueError, match="batch_size"):
        measure_latency(networks, (1, 1, 1), 0)


def test_the_thread_count_comes_back_after_a_failure() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        measure_latency({"a": nn.Linear(3, 3)}, (1, 1, 1), 1, threads=threads + 1)
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    network = nn.Conv2d(3, 4, 3)
    taken = measure_latency({"a": network}, (3, 8, 8), 2, device="cuda", repeats=6, warmup=1)
    assert taken["a"].conditions.device.startswith("cuda (")
    assert taken["a"].ms.low > 0
    assert network.weight.device.type == "cpu"
