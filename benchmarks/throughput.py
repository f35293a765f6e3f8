"""Images per second of our training against a plain, well-written PyTorch loop, side by side on the same network.

    python benchmarks/throughput.py [--pairs 5] [--loaders 2] [--only digits] [--candidates 8]

The plain loop is what one writes: a ``Dataset`` of uint8 images, a ``DataLoader`` with (persistent) workers, the
transforms of torchvision v2 that mean what ours do (crop with padding, flip, scale, normalise), AdamW, one cycle, no
``.item()`` in a step; with automatic mixed precision on a GPU, as ours. It is timed twice: as it is usually written,
and in channels-last format. Same network, initial weights, batch size and number of steps; each trains in a process of
its own, one epoch a turn, and they take turns at going first, after a warm-up. Published are medians of the pairs'
ratios, by the clock and in CPU seconds of all processes (loaders included: they take cores that other candidates of a
search would use).

Ours draws in the main process for whole epochs and augments batches, so it needs no loaders; on a CPU the convolutions
take most of the time either way. Networks are the base network of a search and one as narrow as what a search finds.

With ``--candidates N``, the throughput of N processes training the narrow network at once is held against one's: what
fractional GPUs (``cluster.gpus_per_worker``) give, or on a CPU, cores.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from spaces.networks import NetworkSpec, build_network
from workers.allocator import keep_freed_memory
from workers.batches import Tensors, place, to_tensors
from workers.data import DataRequest, Images, load_splits
from workers.train import TrainSettings, train

BATCH = 64
NARROW = {"stem": 8, "widths": [12, 16, 16]}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on."""

    name: str
    images: Images
    arguments: dict[str, Any]
    shift: int
    flip: bool

    @property
    def settings(self) -> TrainSettings:
        return TrainSettings(epochs=1, batch_size=BATCH, shift=self.shift, flip=self.flip)

    def network(self) -> nn.Module:
        spec = NetworkSpec("inception", self.images.shape, self.images.classes, self.arguments)
        return build_network(spec, torch.Generator().manual_seed(0))

    def tensors(self) -> Tensors:
        channels = self.images.shape[0]
        return to_tensors(self.images, np.full(channels, 0.5), np.full(channels, 0.25), DEVICE)


class PlainSet(Dataset[tuple[Tensor, int]]):
    """One image at a time, transformed."""

    def __init__(self, case: Case) -> None:
        channels, *size = case.images.shape
        steps: list[nn.Module] = [v2.RandomCrop(size, padding=case.shift)] if case.shift else []
        steps += [v2.RandomHorizontalFlip()] if case.flip else []
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * channels, [0.25] * channels)]
        self._transform = v2.Compose(steps)
        self._images = torch.tensor(case.images.images)
        self._labels = case.images.labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


class Plain:
    """The plain loop; loaders stay alive from epoch to epoch."""

    def __init__(self, case: Case, loaders: int, memory_format: torch.memory_format) -> None:
        self._case, self._format = case, memory_format
        self._loader = DataLoader(
            PlainSet(case),
            BATCH,
            shuffle=True,
            num_workers=loaders,
            persistent_workers=loaders > 0,
            pin_memory=DEVICE.type == "cuda",
        )

    def epoch(self, network: nn.Module) -> None:
        network = network.to(DEVICE, memory_format=self._format).train()  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.003, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, len(self._loader))
        total = torch.zeros((), device=DEVICE)
        for images, labels in self._loader:
            images = images.to(DEVICE, memory_format=self._format, non_blocking=True)
            labels = labels.to(DEVICE, non_blocking=True)
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):
                loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        assert float(total) > 0


def main() -> None:
    """Print the tables."""
    arguments = _arguments()
    console = Console(width=110)
    cases = [case for case in _cases(arguments.images) if arguments.only in case.name]
    table = Table(title=f"Images per second, {_device()}, 1 thread, {arguments.loaders} loaders for the plain loop")
    for column in ("case", "ours", "plain", "ratio", "CPU ratio", "plain channels-last", "ratio", "CPU ratio"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for case in cases:
        table.add_row(case.name, *_compare(case, arguments.pairs, arguments.loaders))
    console.print(table)
    if arguments.candidates:
        console.print(_concurrent(cases[-1], arguments.candidates))


def _cases(count: int) -> list[Case]:
    digits = load_splits(DataRequest("digits")).train
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    noise = Images(pixels, rng.integers(0, 10, count), tuple("0123456789"))
    return [
        Case("digits 8×8, base network", digits, {}, 1, False),
        Case("digits 8×8, narrow", digits, NARROW, 1, False),
        Case("colour 32×32, base network", noise, {}, 4, True),
        Case("colour 32×32, narrow", noise, NARROW, 4, True),
    ]


def _compare(case: Case, pairs: int, loaders: int) -> list[str]:
    contestants = {name: Contestant(case, name, loaders) for name in ("ours", "plain", "last")}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(pairs + 1):
        order = list(contestants) if turn % 2 else list(contestants)[::-1]
        for name in order:
            taken = contestants[name].epoch()
            if turn:  # the first is the warm-up
                seconds[name].append(taken)
    for contestant in contestants.values():
        contestant.close()

    def rate(name: str) -> str:
        return f"{len(case.images) / statistics.median(wall for wall, _ in seconds[name]):,.0f}"

    def ratio(name: str, kind: int) -> str:
        ratios = [theirs[kind] / ours[kind] for ours, theirs in zip(seconds["ours"], seconds[name], strict=True)]
        return f"{statistics.median(ratios):.2f}"

    row = [rate("ours")]
    for name in ("plain", "last"):
        row += [rate(name), ratio(name, 0), ratio(name, 1)]
    return row


class Contestant:
    """A way to train, in a process of its own: it keeps its loaders and its memory from epoch to epoch."""

    def __init__(self, case: Case, name: str, loaders: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_contestant, args=(case, name, loaders, theirs))
        self._process.start()
        theirs.close()  # so that reading ends where the process does

    def epoch(self) -> tuple[float, float]:
        """Train for an epoch from the same weights: seconds by the clock, and of CPU with the loaders'."""
        self._pipe.send(True)
        seconds: tuple[float, float] = self._pipe.recv()
        return seconds

    def close(self) -> None:
        self._pipe.send(False)
        self._process.join()


def _contestant(case: Case, name: str, loaders: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    start = case.network()
    if name == "ours":
        keep_freed_memory()  # as every worker of a search does
        data = case.tensors()
        epoch: Callable[[nn.Module], object] = lambda network: train(place(network, data), data, case.settings, 0)  # noqa: E731
    else:
        epoch = Plain(case, loaders, torch.channels_last if name == "last" else torch.contiguous_format).epoch
    while pipe.recv():
        network = copy.deepcopy(start)
        pipe.send(_time(lambda: epoch(network)))  # noqa: B023


def _time(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU over this process and its children."""
    before, cpu = time.perf_counter(), _cpu()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - before, _cpu() - cpu


def _cpu() -> float:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _concurrent(case: Case, count: int) -> str:
    alone, together = _throughput(case, 1), _throughput(case, count)
    return (
        f"{case.name}: {count} candidates at once {together:,.0f} images/s, one {alone:,.0f}: "
        f"{together / alone:.2f} times the throughput ({_device()})"
    )


def _throughput(case: Case, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=_candidate, args=(case, barrier, writer)) for _, writer in pipes]
    for process in processes:
        process.start()
    spans = [reader.recv() for reader, _ in pipes]
    for process in processes:
        process.join()
    images = sum(done for done, _, _ in spans)
    return images / (max(end for _, _, end in spans) - min(start for _, start, _ in spans))


def _candidate(case: Case, barrier: Barrier, writer: Connection) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    data = case.tensors()
    train(place(case.network(), data), data, case.settings, 0)
    barrier.wait()
    start = time.monotonic()  # one clock for all processes of a machine
    epochs = 2
    for _ in range(epochs):
        train(place(case.network(), data), data, case.settings, 0)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    writer.send((epochs * len(case.images), start, time.monotonic()))


def _device() -> str:
    if DEVICE.type == "cuda":
        return torch.cuda.get_device_name()
    known = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    names = [line.partition(":")[2].strip() for line in known if line.startswith("model name")]
    return f"{(names or [platform.processor()])[0]}, {psutil.cpu_count()} cores"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--loaders", type=int, default=2, help="workers of the plain loop's DataLoader")
    parser.add_argument("--images", type=int, default=512, help="32×32 images")
    parser.add_argument("--only", default="", help="part of the cases' names")
    parser.add_argument("--candidates", type=int, default=0, help="processes that train at once")
    return parser.parse_args()


if __name__ == "__main__":
    main()
