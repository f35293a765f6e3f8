"""What compensation (spaces/compensate.py) gives a probe, what is left of it after training, and what it costs.

    python benchmarks/compensation.py                # the demo's network on digits; about ten minutes on a core
    NIWAKI_DATA=folder python benchmarks/compensation.py --data cifar10

Random genomes at three sizes are built in four ways from the same kept channels: plain, with biases alone mended, with
plain least squares (ridge 1e-6, as Xie et al., arXiv 2108.13728), and with the project's own ridge. First table: their
probes (validation accuracy after recalibration, and of a linear classifier refitted to the last features). Second:
some of them trained for a few epochs from the plain and from the compensated weights, with the same seed: the paired
difference with its 95% interval, and how well each probe foretold the accuracy of its own training (Kendall's τ within
a size). Third: CPU time. Everything is on the validation split.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from pruning_bench import interval
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from torch import nn

from search.drive import run_settings
from search.folder import RunFolder
from search.loading import load_config
from search.preflight import check
from spaces.budget import Budget
from spaces.compensate import RIDGE, Compensation, make_compensation
from spaces.foundation import Foundation
from spaces.genome import Genome
from spaces.randomness import numpy_generator, seed_for
from workers.batches import place
from workers.evaluate import Bench
from workers.jobs import VisibleData, base_job, make_bench, trunk_job
from workers.measure.accuracy import measure_accuracy
from workers.probe import probe
from workers.recalibrate import recalibrate
from workers.threads import torch_threads
from workers.train import train

DEMO = Path(__file__).parents[1] / "examples" / "digits.yaml"
DATA = {
    "digits": ["base_training.epochs=25"],
    "cifar10": [
        "data.source={root}/cifar10-train.parquet",
        "data.test={root}/cifar10-test.parquet",
        "data.limit=4000",
        "data.size=16",
        "network.arguments={{stem: 24, widths: [48, 96], modules: [1, 1]}}",
        "base_training.epochs=12",
    ],
}
LEVELS = (Fraction(1, 4), Fraction(1, 16), Fraction(1, 40))
WAYS = ("plain", "bias alone", "ridge 1e-6", f"ridge {RIDGE:g}")
PLAIN, OURS = WAYS[0], WAYS[-1]


@dataclass(frozen=True)
class Probed:
    """One genome: by way, accuracy and refit accuracy; CPU seconds of building and of probing."""

    genome: Genome
    accuracy: dict[str, float]
    refit: dict[str, float]
    building: dict[str, float]
    probing: float


def make_data_bench(name: str, folder: Path) -> Bench:
    """The bench of an ungrown base network with its moments."""
    root = os.environ.get("NIWAKI_DATA", "")
    settings = [text.format(root=root) if "{" in text else text for text in DATA[name]]
    preflight = check(load_config(DEMO, ["probe.compensate=true", "space.growth=0", *settings]))
    data = VisibleData.of(preflight.splits)
    run = run_settings(preflight, RunFolder(folder))
    accuracy = base_job(data, run)(None)
    prepare = trunk_job(data, run, preflight.space.layouts)
    trunks = {growth: prepare(growth) for growth in preflight.space.layouts}
    megabytes = sum(i.megabytes for t in trunks.values() for i in t.moments or ())
    print(f"{name}: base network {accuracy:.2%}, moments {megabytes:.1f} MB")
    return make_bench(data, run, Foundation(preflight.space, trunks))


class Builder:
    """A genome's network, built in any of the ways."""

    def __init__(self, bench: Bench) -> None:
        [(growth, trunk)] = bench.foundation.trunks.items()
        moments = trunk.moments or ()
        means = [replace(i, covariance=None) for i in moments]
        self._plain = replace(bench.foundation, trunks={growth: replace(trunk, moments=None)})
        self._ways: dict[str, Compensation | None] = {
            PLAIN: None,
            WAYS[1]: make_compensation(trunk.network, trunk.layout, means),
            WAYS[2]: make_compensation(trunk.network, trunk.layout, moments, 1e-6),
            OURS: make_compensation(trunk.network, trunk.layout, moments),
        }

    def build(self, genome: Genome, way: str) -> nn.Module:
        """The network."""
        candidate = self._plain.build(genome)
        compensation = self._ways[way]
        if compensation is not None:
            compensation.apply(candidate.network, candidate.kept)
        return candidate.network


def draw(bench: Bench, level: Fraction, count: int) -> list[Genome]:
    """Random genomes within a share of the base network's parameters."""
    space = bench.foundation.space
    whole = space.cost(space.uniform(1.0)).params
    within = replace(space, budget=Budget(params=int(level * whole)))
    return [within.sample(numpy_generator(0, "compensation", str(level), i)) for i in range(count)]


def probed(genome: Genome, bench: Bench, builder: Builder) -> Probed:
    """Probes of all ways."""
    accuracy, refit, building, probing = {}, {}, {}, 0.0
    for way in WAYS:
        began = time.process_time()
        network = builder.build(genome, way)
        between = time.process_time()
        metrics, _ = probe(network, bench.data, bench.probe, len(bench.class_names), bench.seed)
        accuracy[way], refit[way] = metrics["accuracy"], metrics["refit_accuracy"]
        building[way], probing = between - began, time.process_time() - between
    return Probed(genome, accuracy, refit, building, probing)


def trained(genome: Genome, way: str, bench: Bench, builder: Builder, epochs: int) -> float:
    """Accuracy after a short training, as a worker would make it."""
    network = place(builder.build(genome, way), bench.data.train)
    recalibrate(network, bench.data.calibration, bench.probe.batch_size)
    settings = replace(bench.training, epochs=epochs)
    soft = bench.soft_labels(genome) if settings.distillation else None
    train(network, bench.data.train, settings, seed_for(0, "compensation", genome.id), soft)
    return measure_accuracy(network, bench.data.validation).accuracy


def probe_table(found: dict[Fraction, list[Probed]]) -> Table:
    table = Table(title="probes: mean accuracy, and what compensation adds to plain (paired, points)")
    for column in ("size", "built", "accuracy", "gain [95%]", "refit", "gain [95%]"):
        table.add_column(column)
    for level, rows in found.items():
        for way in WAYS:
            cells = [str(level), way]
            for values in ([r.accuracy for r in rows], [r.refit for r in rows]):
                cells.append(f"{statistics.mean(v[way] for v in values):.2%}")
                cells.append("" if way == PLAIN else interval([v[way] - v[PLAIN] for v in values]))
            table.add_row(*cells)
    return table


def training_table(
    level: Fraction, rows: Sequence[Probed], bench: Bench, builder: Builder, epochs: Sequence[int]
) -> Table:
    table = Table(title=f"{len(rows)} genomes of size {level}, trained from plain and from compensated weights")
    for column in ("epochs", "plain", "compensated", "gain [95%]", *_PREDICTORS):
        table.add_column(column)
    for length in epochs:
        ends = {way: [trained(r.genome, way, bench, builder, length) for r in rows] for way in (PLAIN, OURS)}
        gain = interval([b - a for a, b in zip(ends[PLAIN], ends[OURS], strict=True)])
        taus = [
            f"{kendalltau([measure(r)[way] for r in rows], ends[way]).statistic:.2f}"
            for measure, way in _PREDICTORS.values()
        ]
        means = [f"{statistics.mean(ends[way]):.2%}" for way in (PLAIN, OURS)]
        table.add_row(str(length), *means, gain, *taus)
    return table


_PREDICTORS: dict[str, tuple[Callable[[Probed], dict[str, float]], str]] = {
    "τ accuracy, plain": (lambda r: r.accuracy, PLAIN),
    "τ accuracy, comp.": (lambda r: r.accuracy, OURS),
    "τ refit, plain": (lambda r: r.refit, PLAIN),
    "τ refit, comp.": (lambda r: r.refit, OURS),
}


def time_table(found: dict[Fraction, list[Probed]]) -> Table:
    table = Table(title="CPU milliseconds, medians")
    for column in ("size", "surgery", "compensation", "rest of a probe", "share of a compensated probe"):
        table.add_column(column)
    for level, rows in found.items():
        surgery = statistics.median(r.building[PLAIN] for r in rows) * 1e3
        more = statistics.median(r.building[OURS] - r.building[PLAIN] for r in rows) * 1e3
        rest = statistics.median(r.probing for r in rows) * 1e3
        cells = [f"{x:.1f}" for x in (surgery, more, rest)]
        table.add_row(str(level), *cells, f"{more / (surgery + more + rest):.0%}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(DATA), default="digits")
    parser.add_argument("--genomes", type=int, default=40, help="probed at each size")
    parser.add_argument("--trained", type=int, default=16, help="trained at each size")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 8], help="lengths of training")
    options = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        bench = make_data_bench(options.data, Path(folder))
        builder = Builder(bench)
        probed(draw(bench, LEVELS[0], 1)[0], bench, builder)  # warm
        found = {level: [probed(g, bench, builder) for g in draw(bench, level, options.genomes)] for level in LEVELS}
        console.print(probe_table(found))
        console.print(time_table(found))
        for level, rows in found.items():
            console.print(training_table(level, rows[: options.trained], bench, builder, options.epochs))


if __name__ == "__main__":
    main()
