"""Strategies at equal cost of training: population against evolution against random search, over several seeds.

    python benchmarks/strategies.py examples/digits.yaml [--seeds 5] [--epochs 10] [--plot strategies.png]

Every search trains for as many epochs in all: `search.trainings` × `training.epochs` of the configuration, which
evolution and random search spend on trainings from the base network, and the population on intervals (three quarters
of it) and on the last trainings of its best members. The searches of a seed share a base network. Controls and MLflow
are left out; evolution has its forecasts, as the product has. Printed per seed: the hypervolume of the final front by
test accuracy, which no search sees; the shipped network's test accuracy; device-seconds. Paired differences to
evolution with 95% intervals (Student's t). The plot shows the hypervolume by validation accuracy over device-seconds,
members of the population included as they train. Runs stay in ``--out``: what was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import numpy as np
from live import interval
from rich.console import Console
from rich.table import Table

from search.archive import Archive
from search.config import SearchConfig
from search.front import Point, hypervolume, normalised
from search.loading import load_config
from search.run import Result, run_search
from workers.evaluation import INTERVAL, TRAIN

NAMES = ("population", "evolution", "random")


@dataclass(frozen=True)
class Run:
    """What one search came to.

    Attributes:
        curve: device-seconds and validation hypervolume after each evaluation that raised it.
        test: hypervolume of the final front by test accuracy.
        shipped: test accuracy of the chosen network; NaN where none was.
        epochs: of training, in all.
        seconds: device-seconds, probes included.
    """

    curve: tuple[tuple[float, float], ...]
    test: float
    shipped: float
    epochs: int
    seconds: float


def main() -> None:
    arguments = _arguments()
    runs: list[dict[str, Run]] = []
    for seed in range(arguments.seeds):
        found: dict[str, Run] = {}
        for name in NAMES:
            weights = [] if name == NAMES[0] else [f"network.weights={_base(arguments.out, seed)}"]
            found[name] = _run(arguments, name, seed, weights)
        runs.append(found)
        print(f"seed {seed}: " + ", ".join(f"{n} {r.test:.4f} {r.shipped:.2%}" for n, r in found.items()), flush=True)
    Console(width=max(110, Console().width)).print(as_table(runs))
    if arguments.plot:
        plot(runs, arguments.plot)


def as_table(runs: Sequence[dict[str, Run]]) -> Table:
    """A row a strategy: means, and paired differences to evolution."""
    epochs = {r.epochs for found in runs for r in found.values()}
    each = " to ".join(str(n) for n in sorted({min(epochs), max(epochs)}))
    printed = Table(title=f"{len(runs)} seeds, {each} epochs of training in each search")
    for title in ("strategy", "hypervolume, test", "− evolution's", "shipped, test", "points more", "device-seconds"):
        printed.add_column(title, justify="left" if title == "strategy" else "right")
    for name in NAMES:
        own, base = [f[name] for f in runs], [f["evolution"] for f in runs]
        printed.add_row(
            name,
            f"{np.mean([r.test for r in own]):.4f}",
            "" if name == "evolution" else interval([a.test - b.test for a, b in zip(own, base, strict=True)]),
            f"{np.mean([r.shipped for r in own]):.2%}",
            ""
            if name == "evolution"
            else interval([100 * (a.shipped - b.shipped) for a, b in zip(own, base, strict=True)]),
            f"{median(r.seconds for r in own):.0f}",
        )
    return printed


def plot(runs: Sequence[dict[str, Run]], path: Path) -> None:
    """Median and range over seeds of the validation hypervolume over device-seconds."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, colour in zip(NAMES, ("#c2410c", "#1d4ed8", "#6b7280"), strict=True):
        own = [f[name] for f in runs]
        seconds = np.linspace(0, max(r.seconds for r in own), 400)
        volumes = np.array([[_at(r.curve, s) for s in seconds] for r in own])
        axes.step(seconds, np.median(volumes, axis=0), where="post", color=colour, label=name)
        axes.fill_between(seconds, volumes.min(0), volumes.max(0), step="post", color=colour, alpha=0.12, lw=0)
        axes.plot([seconds[-1]] * len(own), [r.test for r in own], "_", color=colour)
    axes.set_xlabel("device-seconds")
    axes.set_ylabel("hypervolume by validation accuracy")
    axes.set_title("Median and range over seeds; dashes at the end: by test accuracy", fontsize=9, loc="left")
    axes.set_ylim(bottom=max(0.0, min(r.test for f in runs for r in f.values()) - 0.1))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def _at(curve: Sequence[tuple[float, float]], seconds: float) -> float:
    return max((volume for spent, volume in curve if spent <= seconds), default=0.0)


def _run(arguments: argparse.Namespace, strategy: str, seed: int, settings: Sequence[str]) -> Run:
    plain = ["controls.enabled=false", "tracking.enabled=false", f"out={arguments.out}", f"seed={seed}"]
    own = [f"training.epochs={arguments.epochs}", f"search.strategy={strategy}", f"name={strategy}-{seed}"]
    given = [*arguments.set, *plain, *own, *settings]
    config = load_config(arguments.config, given)
    if strategy == "population":
        config = load_config(arguments.config, [*given, *_population(config)])
    return _summary(run_search(config))


def _population(config: SearchConfig) -> list[str]:
    """As many epochs as the configuration's trainings take: three quarters in intervals."""
    trainings = max(1, config.search.trainings // 4)
    epochs = (config.search.trainings - trainings) * config.training.epochs
    intervals = epochs // config.population.interval
    size = max(4, min(config.search.population, intervals // 6))
    return [
        f"search.trainings={trainings}",
        "search.rounds=1",
        f"search.probes={intervals}",
        f"search.population={size}",
    ]


def _summary(result: Result) -> Run:
    cost, base = result.finals.cost, float(result.finals.base.cost(result.finals.cost))
    points: list[Point] = []
    curve: list[tuple[float, float]] = []
    spent, epochs, before = 0.0, 0, {"": 0}
    for e in Archive(result.folder.archive).evaluations():
        spent += e.outcome.seconds
        if not e.ok or e.request.stage not in (INTERVAL, TRAIN):
            continue
        done = int(e.metrics["epochs"])
        epochs += done - before.get(e.request.parent, 0)
        before[e.request.genome.id] = done
        if e.metrics["violation"] <= 0:
            points.append(Point(0.0, normalised(1.0 - e.metrics["accuracy"], e.metrics[cost], base)))
            curve.append((spent, hypervolume(points)))
    chosen = result.finals.chosen_network
    shipped = math.nan if chosen is None else float(chosen.test_accuracy)
    return Run(tuple(curve), float(result.finals.hypervolume.test), shipped, epochs, spent)


def _base(out: Path, seed: int) -> Path:
    return out / f"{NAMES[0]}-{seed}" / "weights" / "base.safetensors"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML configuration of a search")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="override a setting")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="of a training to the end")
    parser.add_argument("--out", type=Path, default=Path("runs/strategies"), help="folder of the runs")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
