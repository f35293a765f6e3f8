"""Finishing a candidate by population-based training, in rungs, and by plain training, at equal cost.

    python benchmarks/finish.py                 # digits, five seeds; about five minutes on a core
    python benchmarks/finish.py --population 8 --epochs 30 --interval 5 --seeds 10

For each seed one random candidate within a sixteenth of the base network is trained as a search trains it. Then it is
finished from those weights in four ways whose epochs in all are the same, population × epochs: population-based
training; as many members in successive halving as that affords; one plain training of all these epochs; and the best
by validation of as many plain trainings as the population has members, with the settings of the search and other
orders of images. Legs and decisions are those of a search (workers/finish/); Ray Tune, which only says where a leg
runs, is left out. Shown are accuracies on the test split, and paired differences to the one long training with their
95% interval (t). The validation split chose among members, so it flatters the ways that have many.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import t

from search.drive import run_settings
from search.folder import RunFolder
from search.loading import parse_config
from search.preflight import check
from spaces.foundation import Foundation
from spaces.randomness import numpy_generator
from workers.batches import Tensors, place, to_tensors
from workers.checkpoint import load_candidate
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import FINISH, TRAIN, Request
from workers.finish.candidate import finish_candidate, finishing_of
from workers.finish.leg import Finishing, Leg
from workers.finish.methods import Method, rungs, standing
from workers.finish.settings import ASHA, PBT, PLAIN, FinishSettings
from workers.finish.training import train_leg
from workers.jobs import RunSettings, VisibleData, base_job, make_bench, trunk_job
from workers.measure.accuracy import measure_accuracy
from workers.threads import torch_threads

BEFORE, LONG, BEST_OF = "before", "plain, one long", "plain, best of {}"


@dataclass(frozen=True)
class Finished:
    """One candidate, finished in one way; ``epochs`` are those of all members."""

    validation: float
    test: float
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Home:
    """A run's parts, made once for all seeds."""

    bench: Bench
    run: RunSettings
    test: Tensors


def make_home(folder: Path) -> Home:
    """A base network trained and scored on digits."""
    config = parse_config(
        {
            "name": "finish",
            "out": str(folder),
            "data": {"source": "digits"},
            "network": {"arguments": {"stem": 16, "widths": [32, 64], "modules": [1, 1]}},
            "base_training": {"epochs": 15, "shift": 1},
            "training": {"epochs": 8, "shift": 1, "distillation": 0.5},
            "space": {"growth": 0, "criteria": ["l1", "bn_scale", "fpgm"]},
            "budget": {"params": "1/16"},
        }
    )
    preflight = check(config)
    data = VisibleData.of(preflight.splits)
    run = run_settings(preflight, RunFolder(folder))
    accuracy = base_job(data, run)(None)
    trunks = {growth: trunk_job(data, run, preflight.space.layouts)(growth) for growth in preflight.space.layouts}
    bench = make_bench(data, run, Foundation(preflight.space, trunks))
    print(f"base network {accuracy:.2%} on validation, candidates of at most {preflight.base.params // 16} parameters")
    return Home(bench, run, to_tensors(preflight.splits.test, data.mean, data.std))


def finish(home: Home, genome_seed: int, settings: FinishSettings) -> Finished:
    """Finish the candidate of a seed."""
    request = candidate(home, genome_seed, FINISH)
    trained: list[Leg] = []

    def in_turn(finishing: Finishing, method: Method, scores: dict[tuple[int, int], float]) -> tuple[str, str]:
        while legs := [leg for leg in standing(method, scores).following if isinstance(leg, Leg)]:
            scores[legs[0].member, legs[0].number] = train_leg(legs[0], finishing, home.bench).score
            trained.append(legs[0])
        return "", ""

    for path in finishing_of(request, home.run.folder).folder.glob("*"):
        path.unlink()
    started = time.process_time()
    outcome = finish_candidate(request, replace(home.run, finish=settings), home.bench.foundation.space, in_turn)
    seconds = time.process_time() - started
    ends = {(leg.member, leg.number): leg.until for leg in trained}
    epochs = sum(end - ends.get((member, number - 1), 0) for (member, number), end in ends.items())
    return Finished(outcome.metrics["accuracy"], test_accuracy(home, request), epochs, seconds)


def candidate(home: Home, seed: int, stage: str) -> Request:
    """A random genome within budget."""
    return Request(0, stage, home.bench.foundation.space.sample(numpy_generator(seed, "finish")), "benchmark")


def test_accuracy(home: Home, request: Request) -> float:
    """Of the weights that an evaluation left, on the test split."""
    network, _ = load_candidate(weights_path(home.run.folder, request))
    return measure_accuracy(place(network, home.test), home.test).accuracy


def ways(population: int, epochs: int, interval: int) -> dict[str, FinishSettings]:
    """Ways to spend population × epochs epochs, by name."""
    pbt = FinishSettings(PBT, population, epochs, interval, ranges())
    plain = replace(pbt, method=PLAIN, epochs=population * epochs)
    # A population whose settings are one point and whose worst are never replaced: plain trainings side by side.
    best_of = replace(pbt, interval=epochs, ranges={})
    return {
        LONG: plain,
        BEST_OF.format(population): best_of,
        "asha": replace(pbt, method=ASHA, population=asha_members(population, epochs, interval)),
        "pbt": pbt,
    }


def asha_members(population: int, epochs: int, interval: int) -> int:
    """Members that rungs afford at the cost of a whole population, if a third passes each."""
    ends = rungs(FinishSettings(ASHA, population, epochs, interval))
    each = sum((end - before) / 3**k for k, (before, end) in enumerate(zip((0, *ends), ends, strict=False)))
    return round(population * epochs / each)


def ranges() -> dict[str, tuple[float, float]]:
    """The defaults of a configuration."""
    finish = parse_config({"name": "x", "data": {"source": "digits"}}).finish
    return dict(finish.ranges)


def summary(found: Sequence[dict[str, Finished]]) -> Table:
    """One line a way, over seeds."""
    table = Table(box=None, pad_edge=False)
    for name in ("way", "epochs", "CPU s", "validation", "test", "test − one long (paired, 95%)", "test, by seed"):
        table.add_column(name, justify="left" if name == "way" else "right", no_wrap=True)
    for way in found[0]:
        rows = [f[way] for f in found]
        table.add_row(
            way,
            f"{statistics.mean(r.epochs for r in rows):.0f}",
            f"{statistics.mean(r.seconds for r in rows):.1f}",
            f"{statistics.mean(r.validation for r in rows):.2%}",
            f"{statistics.mean(r.test for r in rows):.2%}",
            "" if way == LONG else interval([100 * (f[way].test - f[LONG].test) for f in found]),
            " ".join(f"{100 * r.test:.1f}" for r in rows),
        )
    return table


def interval(differences: Sequence[float]) -> str:
    """``+0.40 ± 0.31 points``."""
    half = t.ppf(0.975, len(differences) - 1) * np.std(differences, ddof=1) / len(differences) ** 0.5
    return f"{statistics.mean(differences):+.2f} ± {half:.2f} points"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--population", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=9, help="of each member")
    parser.add_argument("--interval", type=int, default=3)
    options = parser.parse_args()
    found: list[dict[str, Finished]] = []
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        home = make_home(Path(folder))
        for seed in range(options.seeds):
            request = candidate(home, seed, TRAIN)
            outcome = evaluate(request, home.bench)
            epochs, accuracy = int(outcome.metrics["epochs"]), outcome.metrics["accuracy"]
            rows = {BEFORE: Finished(accuracy, test_accuracy(home, request), epochs, outcome.seconds)}
            for way, settings in ways(options.population, options.epochs, options.interval).items():
                rows[way] = finish(home, seed, settings)
            found.append(rows)
            print(f"seed {seed}: " + ", ".join(f"{way} {r.test:.2%}" for way, r in rows.items()), flush=True)
    Console(width=150).print(summary(found))


if __name__ == "__main__":
    main()
