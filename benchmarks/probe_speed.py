"""Probes per second against the obvious pipeline, side by side in one process, on the demo's base network.

    python benchmarks/probe_speed.py [--genomes 60] [--epochs 5] [--format contiguous] [--quick]

Ours is a whole evaluation as a worker runs it (:func:`workers.evaluate.evaluate`); it also blends six criteria, refits
the classifier and describes the features. The obvious pipeline for the same genome is ``copy.deepcopy`` of the trained
and grown network, Torch-Pruning's ``MetaPruner`` at the genome's width for every layer (its cheapest importance: L1
norms, nothing to differentiate), batch norms reset and averaged over the same images in batches of the same size,
then accuracy and loss on the same validation images. Its images are normalised once, beforehand, and it runs in the
memory format that suits it better (``--format``: measured, contiguous).

Genomes are drawn as a search's first ones are: once within the demo's budget, once without a budget. Every genome is
probed once by either side, as in a search: oneDNN's kernels for its shapes are made anew. Both networks of a pair have
the same number of parameters (checked), and the two take turns at going first. Published is the median of the pairs'
ratios with its interval, at one torch thread, in CPU seconds of the process: neighbours on the machine count less than
on the clock on the wall. Breakdowns come from runs of their own.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch_pruning as tp
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from search.drive import run_settings
from search.folder import RunFolder
from search.loading import load_config
from search.preflight import check
from spaces.budget import Budget
from spaces.foundation import Foundation
from spaces.genome import Genome
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.batches import Tensors
from workers.evaluate import Bench, evaluate
from workers.evaluation import PROBE, Request
from workers.jobs import VisibleData, base_job, make_bench, trunk_job
from workers.measure.latency import median_interval
from workers.threads import torch_threads

WARM_UP = 5
DEMO = Path(__file__).parents[1] / "examples" / "digits.yaml"
FORMATS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
OUR_PARTS = {
    "blend and surgery": "spaces.foundation.Foundation.build",
    "recalibration forward": "workers.probe.recalibrate",
    "evaluation forward": "workers.probe.measure_accuracy",
    "ridge refit": "workers.probe.refit_accuracy",
    "embedding": "workers.probe.embedding_statistics",
}

Clock = dict[str, float]
"""Seconds by part."""

Probe = Callable[[Genome], tuple[int, float, float]]
"""Parameters, accuracy and loss of a genome's network."""


def make_demo_bench(folder: Path, epochs: int) -> Bench:
    """The demo's bench: its base network trained for ``epochs``, all its growths traced and scored."""
    preflight = check(load_config(DEMO, [f"base_training.epochs={epochs}"]))
    data = VisibleData.of(preflight.splits)
    settings = run_settings(preflight, RunFolder(folder))
    base_job(data, settings)(None)
    prepare = trunk_job(data, settings, preflight.space.layouts)
    trunks = {growth: prepare(growth) for growth in sorted(preflight.space.layouts)}
    return make_bench(data, settings, Foundation(preflight.space, trunks))


def draw(space: Space, count: int) -> list[Genome]:
    """Genomes as a search's first ones are drawn."""
    return [space.sample(numpy_generator(0, "probe speed", i)) for i in range(count)]


class ObviousPipeline:
    """What one writes with PyTorch and Torch-Pruning alone; of Niwaki's it uses trained networks, widths and images."""

    def __init__(self, bench: Bench, memory_format: torch.memory_format) -> None:
        self._bench = bench
        self._networks = {
            growth: copy.deepcopy(trunk.network).to(memory_format=memory_format)  # type: ignore[call-overload]
            for growth, trunk in bench.foundation.trunks.items()
        }

        def normalised(data: Tensors) -> Tensor:
            return data.normalise(data.images).contiguous(memory_format=memory_format)

        self._calibration = normalised(bench.data.calibration)
        self._validation = normalised(bench.data.validation)

    def probe(self, genome: Genome, clock: Clock | None = None) -> tuple[int, float, float]:
        """Parameters, accuracy and loss of the pruned network."""
        parts = _Parts(clock)
        network = copy.deepcopy(self._networks[genome.growth])
        parts.end("deepcopy")
        pruner = self._pruner(network, genome)
        parts.end("dependency graph")
        pruner.step()
        parts.end("importance and pruning")
        self._recalibrate(network)
        parts.end("recalibration forward")
        accuracy, loss = self._evaluate(network)
        parts.end("evaluation forward")
        return sum(p.numel() for p in network.parameters()), accuracy, loss

    def _pruner(self, network: nn.Module, genome: Genome) -> Any:
        space = self._bench.foundation.space
        ratios = {
            # The pruner rounds what stays down: half a channel more makes it exact.
            network.get_submodule(group.producers()[0].layer): 1 - (width + 0.5) / group.size
            for group, width in zip(space.layout(genome).groups, space.widths(genome).tolist(), strict=True)
            if width < group.size
        }
        return tp.pruner.MetaPruner(
            network,
            torch.zeros(1, *self._bench.spec.shape),
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=0.0,
            pruning_ratio_dict=ratios,
            ignored_layers=[m for m in network.modules() if isinstance(m, nn.Linear)],
            # Its defaults are shared between all pruners of a process and keep every network alive.
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )

    @torch.no_grad()
    def _recalibrate(self, network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        network.train()
        for images in self._calibration.split(self._bench.probe.batch_size):  # type: ignore[no-untyped-call]
            network(images)

    @torch.no_grad()
    def _evaluate(self, network: nn.Module) -> tuple[float, float]:
        network.eval()
        size = self._bench.probe.batch_size
        labels = self._bench.data.validation.labels
        batches = self._validation.split(size)  # type: ignore[no-untyped-call]
        logits = torch.cat([network(images) for images in batches])
        return float((logits.argmax(1) == labels).double().mean()), float(F.cross_entropy(logits, labels))


class _Parts:
    """A stopwatch that books the time since its last part."""

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._last = time.process_time()

    def end(self, part: str) -> None:
        now = time.process_time()
        if self._clock is not None:
            self._clock[part] = self._clock.get(part, 0.0) + now - self._last
        self._last = now


@contextmanager
def timed_parts(clock: Clock) -> Iterator[None]:
    """Book the time of the functions in :data:`OUR_PARTS` while the block lasts."""

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            parts = _Parts(clock)
            result = function(*args, **kwargs)
            parts.end(part)
            return result

        return run

    with ExitStack() as stack:
        for part, target in OUR_PARTS.items():
            patcher = patch(target)
            original, _ = patcher.get_original()  # type: ignore[attr-defined]
            stack.enter_context(patch(target, timed(part, original)))
        yield


def our_probe(genome: Genome, bench: Bench) -> tuple[int, float, float]:
    """Parameters, accuracy and loss as a worker reports them."""
    outcome = evaluate(Request(0, PROBE, genome, "benchmark"), bench)
    if outcome.status != "ok":
        raise RuntimeError(f"the probe of {genome.id} failed: {outcome.message}")
    return int(outcome.metrics["params"]), outcome.metrics["accuracy"], outcome.metrics["loss"]


def race(genomes: Sequence[Genome], bench: Bench, obvious: ObviousPipeline) -> tuple[list[float], list[float]]:
    """Seconds of every probe, ours and the obvious pipeline's, in pairs."""
    ours: list[float] = []
    theirs: list[float] = []
    lanes: list[tuple[list[float], Probe]] = [(ours, lambda g: our_probe(g, bench)), (theirs, obvious.probe)]
    for genome in genomes:
        params = set()
        for times, probe in lanes:
            began = time.process_time()
            params.add(probe(genome)[0])
            times.append(time.process_time() - began)
        if len(params) > 1:
            raise RuntimeError(f"{genome.id}: the two networks have {sorted(params)} parameters")
        lanes.reverse()
    return ours, theirs


def breakdown(genomes: Sequence[Genome], bench: Bench, obvious: ObviousPipeline) -> tuple[Clock, Clock]:
    """Mean milliseconds of every part, ours and the obvious pipeline's."""
    ours: Clock = {}
    theirs: Clock = {}
    began = time.process_time()
    with timed_parts(ours):
        for genome in genomes:
            our_probe(genome, bench)
    ours["rest"] = time.process_time() - began - sum(ours.values())
    for genome in genomes:
        obvious.probe(genome, theirs)
    return tuple({part: s * 1e3 / len(genomes) for part, s in clock.items()} for clock in (ours, theirs))  # type: ignore[return-value]


def tables(name: str, bench: Bench, memory_format: torch.memory_format, count: int) -> Iterator[Table]:
    """The race over ``count`` genomes of the bench's space, and where the time goes."""
    obvious = ObviousPipeline(bench, memory_format)
    drawn = draw(bench.foundation.space, WARM_UP + count)
    warm_up, genomes = drawn[:WARM_UP], drawn[WARM_UP:]
    for genome in warm_up:
        our_probe(genome, bench)
        obvious.probe(genome)
    ours, theirs = race(genomes, bench, obvious)
    ratio = median_interval([b / a for a, b in zip(ours, theirs, strict=True)])
    params = statistics.median(bench.foundation.space.cost(genome).params for genome in genomes)
    table = Table(title=f"{name}: {count} genomes, median {params:,.0f} parameters")
    for column in ("", "probes/s", "ms per probe, median", "times as fast, median [95%]"):
        table.add_column(column, justify="right" if column else "left")
    for label, times, factor in (("niwaki", ours, str(ratio)), ("obvious pipeline", theirs, "1")):
        table.add_row(label, f"{count / sum(times):.1f}", f"{statistics.median(times) * 1e3:.1f}", factor)
    yield table
    parts = Table(title=f"{name}: where the time goes, ms per probe (share)")
    for column in ("niwaki", "", "obvious pipeline", ""):
        parts.add_column(column, justify="left" if column else "right")
    columns = [
        [(part, f"{ms:.2f} ({ms / sum(clock.values()):.0%})") for part, ms in clock.items()]
        for clock in breakdown(genomes, bench, obvious)
    ]
    for i in range(max(map(len, columns))):
        parts.add_row(*(text for column in columns for text in (column[i] if i < len(column) else ("", ""))))
    yield parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=int, default=60)
    parser.add_argument(
        "--epochs", type=int, default=5, help="of training the base network; speed does not depend on it"
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="contiguous", help="of the obvious pipeline's tensors"
    )
    parser.add_argument("--quick", action="store_true", help="a dozen genomes after one epoch")
    options = parser.parse_args()
    count, epochs = (12, 1) if options.quick else (options.genomes, options.epochs)
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        bench = make_demo_bench(Path(folder), epochs)
        free = replace(bench.foundation, space=replace(bench.foundation.space, budget=Budget()))
        benches = {"the demo's budget": bench, "no budget": replace(bench, foundation=free)}
        for name, each in benches.items():
            for table in tables(name, each, FORMATS[options.format], count):
                console.print(table)


if __name__ == "__main__":
    main()
