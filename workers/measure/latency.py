"""Latency that can be believed: networks timed in turns in one run, medians with intervals, conditions recorded.

Machines drift (clocks, heat, neighbours) by more than candidates differ. So networks take turns within every
repeat, and what is compared is the ratio of two neighbours in time, not two medians taken apart.
"""

from __future__ import annotations

import copy
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from workers.threads import torch_threads

LEAST_REPEATS = 6
"""With fewer, not even the range from least to greatest holds the median with 95% confidence."""


@dataclass(frozen=True)
class Interval:
    """A median and its distribution-free 95% interval: two order statistics, ranks by the binomial distribution."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class Conditions:
    """Under which latencies were taken; two latencies compare only under equal ones.

    Attributes:
        device: type and model, such as ``cpu (AMD EPYC 7B13)``.
        dtype: of weights and images, such as ``float32``.
        threads: torch's CPU threads within one operator.
        batch_size: images per forward pass.
        shape: of an image, ``(C, H, W)``.
        repeats: timed passes of each network.
        warmup: untimed passes of each network before.
    """

    device: str
    dtype: str
    threads: int
    batch_size: int
    shape: tuple[int, int, int]
    repeats: int
    warmup: int


@dataclass(frozen=True)
class Latency:
    """How long one network takes.

    Attributes:
        ms: milliseconds per batch.
        ratio: time over the reference's time in the same repeat: below 1 is faster. Exactly 1 for the reference.
        reference: name of the network that ``ratio`` refers to.
        conditions: of the measurement.
    """

    ms: Interval
    ratio: Interval
    reference: str
    conditions: Conditions

    @property
    def median_ms(self) -> float:
        """Median milliseconds per batch."""
        return self.ms.median


def measure_latency(
    networks: Mapping[str, nn.Module],
    shape: tuple[int, int, int],
    batch_size: int,
    device: torch.device | str = "cpu",
    repeats: int = 50,
    warmup: int = 10,
    threads: int = 1,
    reference: str | None = None,
) -> dict[str, Latency]:
    """Time forward passes of all ``networks`` in turns (A B C, C B A, A B C, …).

    The networks are copied: their devices, modes and weights stay as they are; so does torch's thread count.
    On CUDA the time is between two events on the stream, after the device has come to rest.

    Args:
        networks: by name; normally the base network first.
        shape: of an image, ``(C, H, W)``.
        threads: torch CPU threads during the measurement.
        reference: what ratios refer to; default: the first network.

    Raises:
        ValueError: no networks, an unknown reference, a size below 1, or fewer than ``LEAST_REPEATS`` repeats.
    """
    device = torch.device(device)
    reference = _check(networks, batch_size, repeats, warmup, threads, reference)
    timed = {name: copy.deepcopy(network).to(device).eval() for name, network in networks.items()}
    dtype = next((p.dtype for p in timed[reference].parameters()), torch.float32)
    images = torch.rand(batch_size, *shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    clock = _cuda_ms if device.type == "cuda" else _cpu_ms
    with torch_threads(threads), torch.inference_mode():
        times = _take_turns(timed, images, repeats, warmup, clock)
    conditions = Conditions(
        _device_name(device), str(dtype).removeprefix("torch."), threads, batch_size, shape, repeats, warmup
    )
    base = times[reference]
    return {
        name: Latency(
            ms=median_interval(taken),
            ratio=median_interval([a / b for a, b in zip(taken, base, strict=True)]),
            reference=reference,
            conditions=conditions,
        )
        for name, taken in times.items()
    }


def median_interval(values: Sequence[float]) -> Interval:
    """The median of ``values`` and the narrowest symmetric pair of order statistics that covers it with ≥ 95%.

    Raises:
        ValueError: fewer than ``LEAST_REPEATS`` values.
    """
    count = len(values)
    if count < LEAST_REPEATS:
        raise ValueError(f"a 95% interval of a median needs at least {LEAST_REPEATS} values, got {count}")
    # The k-th smallest exceeds the median when fewer than k of the values fall below it: a binomial with p = 1/2.
    rank, tail = 0, 0.0
    while tail + math.comb(count, rank) * 0.5**count <= 0.025:
        tail += math.comb(count, rank) * 0.5**count
        rank += 1
    ordered = sorted(values)
    return Interval(statistics.median(ordered), ordered[rank - 1], ordered[count - rank])


def _check(
    networks: Mapping[str, nn.Module], batch_size: int, repeats: int, warmup: int, threads: int, reference: str | None
) -> str:
    if not networks:
        raise ValueError("latency: no networks to time")
    if reference is not None and reference not in networks:
        raise ValueError(f"latency: reference {reference!r} is not among {list(networks)}")
    if min(batch_size, threads) < 1 or warmup < 0:
        raise ValueError(
            f"latency: batch_size ({batch_size}) and threads ({threads}) must be ≥ 1, warmup ({warmup}) ≥ 0"
        )
    if repeats < LEAST_REPEATS:
        raise ValueError(f"latency: repeats ({repeats}) must be at least {LEAST_REPEATS} for a 95% interval")
    return reference if reference is not None else next(iter(networks))


def _take_turns(
    networks: Mapping[str, nn.Module],
    images: Tensor,
    repeats: int,
    warmup: int,
    clock: Callable[[nn.Module, Tensor], float],
) -> dict[str, list[float]]:
    for network in networks.values():
        for _ in range(warmup):
            clock(network, images)
    times: dict[str, list[float]] = {name: [] for name in networks}
    order = list(networks)
    for _ in range(repeats):
        for name in order:
            times[name].append(clock(networks[name], images))
        order.reverse()  # nobody always runs behind the same neighbour's cold or warm caches
    return times


def _cpu_ms(network: nn.Module, images: Tensor) -> float:
    start = time.perf_counter_ns()
    network(images)
    return (time.perf_counter_ns() - start) / 1e6


def _cuda_ms(network: nn.Module, images: Tensor) -> float:
    with torch.cuda.device(images.device):
        torch.cuda.synchronize()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        network(images)
        end.record()
        torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    model = ""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = (
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        )
        model = next(names, "")
    return f"{device.type} ({model or platform.processor() or platform.machine()})"
