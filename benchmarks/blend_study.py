"""Where blends of criteria pay: each criterion alone, mixtures, and searched blends, before and after fine-tuning.

    python benchmarks/blend_study.py examples/digits.yaml [--seeds 5] [--shares 1/4 1/16 1/64] [--set A.B=VALUE]

Per seed (split, base network) and share of the base network's parameters, each method chooses one network, which is
measured on the test split after recalibration alone and after the configuration's training:

* each criterion alone, ``l1`` foremost; ``mean rank`` of all; ``random blend``: drawn once; all at uniform ratios;
* chosen by the probe (validation) among ``--probes`` networks at uniform ratios: ``best random mask``, ``best random
  blend``, ``paper`` (criteria clustered, calibration factors evolved: ``space.blend: paper``);
* ``joint``: ratios and clustered blends evolve together within the same budget, as many probes;
* ``l1``, ``paper`` and ``joint`` once more with compensation (``probe.compensate``) in probes and before training;
* ``scratch``: the network of ``l1`` from fresh weights, trained for the base's and its own epochs together.

Printed per share: mean accuracies over the seeds, and how far each method is from ``l1`` (paired over the seeds, 95%
interval by Student's t). Rows that are done stay in ``--work``: other settings need another.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Printed
from table import prepare

from search.config import SearchConfig
from search.controls import uniform_control
from search.loading import load_config
from search.strategies.evolution import Evolution
from search.strategies.objectives import probe_error
from spaces.budget import Budget
from spaces.criteria import CRITERIA
from spaces.foundation import Foundation, condensed
from spaces.genome import Genome
from spaces.input_moments import measure_inputs
from spaces.randomness import numpy_generator
from spaces.space import Space
from workers.batches import Tensors, place
from workers.checkpoint import load_candidate
from workers.complexity.csg import Interval
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import OK, PROBE, SCRATCH, TRAIN, Evaluation, Request
from workers.jobs import make_bench
from workers.measure.accuracy import measure_accuracy
from workers.recalibrate import recalibrate

CLUSTERS = 3
METHODS = (
    *CRITERIA,
    *("mean rank", "random blend", "best random mask", "best random blend", "paper", "joint", "scratch"),
    *("l1 compensated", "paper compensated", "joint compensated"),
)
Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Choice:
    """A method's network: a genome, and the foundation (random masks have their own) that builds it."""

    genome: Genome
    foundation: Foundation


@dataclass(frozen=True)
class Setting:
    """One seed at one share.

    Attributes:
        foundation: its space searches blends at uniform ratios within the budget, every criterion with a weight.
        seed: of the study's own draws.
    """

    bench: Bench
    foundation: Foundation
    test: Tensors
    probes: int
    seed: int

    @property
    def space(self) -> Space:
        return self.foundation.space

    def plain(self, name: str) -> Genome:
        """One criterion alone."""
        weights = tuple(float(name == other) for other in self.space.criteria)
        return self.space.repair(self.space.uniform(1.0, weights))


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    config = load_config(Path(arguments.config), _settings(arguments.set))
    work = arguments.work or Path("runs") / f"blends-{config.name}"
    work.mkdir(parents=True, exist_ok=True)
    rows = _read(work / "rows.jsonl")
    tasks = [(seed, share) for seed in range(arguments.seeds) for share in arguments.shares]
    done = {(row["seed"], row["share"], row["method"]) for row in rows}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, context) as pool, (work / "rows.jsonl").open("a") as log:
        futures = [pool.submit(study, arguments, work, *task, done) for task in tasks]
        for future in as_completed(futures):
            for row in future.result():
                rows.append(row)
                log.write(json.dumps(row) + "\n")
            log.flush()
            print(f"{len(rows)} rows", flush=True)
    console = Console(width=max(110, Console().width))
    for share in arguments.shares:
        console.print(as_table(config, share, [row for row in rows if row["share"] == share]))


def study(arguments: argparse.Namespace, work: Path, seed: int, share: str, done: set[tuple[object, ...]]) -> list[Row]:
    """All methods that are not done yet, for one seed and share."""
    torch.set_num_threads(1)
    setting = _setting(arguments, work / f"seed-{seed}", seed, share)
    rows: list[Row] = []
    for name in arguments.methods:
        if (seed, share, name) in done:
            continue
        plain = name.removesuffix(" compensated")
        choice = _choose(plain, setting if plain == name else _compensated(setting))
        bench = replace(setting.bench, foundation=choice.foundation)
        after = after_training(choice.genome, bench, setting.test, SCRATCH if name == "scratch" else TRAIN)
        before = math.nan if name == "scratch" else _before(choice, setting)
        params = setting.space.cost(choice.genome).params
        rows.append({"seed": seed, "share": share, "method": name, "before": before, "after": after, "params": params})
    return rows


def _setting(arguments: argparse.Namespace, work: Path, seed: int, share: str) -> Setting:
    config = load_config(Path(arguments.config), [*_settings(arguments.set), f"seed={seed}"])
    work.mkdir(parents=True, exist_ok=True)
    data, settings, foundation, test = prepare(config, work)
    base = foundation.space.ungrown
    budget = Budget(params=int(Fraction(share) * base.cost(base.full()).params))
    foundation = replace(foundation, space=replace(foundation.space, budget=budget, varies_ratios=False))
    bench = replace(make_bench(data, settings, foundation), memory_mb=None)
    test = replace(test, memory_format=bench.data.train.memory_format)
    return Setting(bench, bench.foundation, test, arguments.probes, seed)


def _choose(name: str, setting: Setting) -> Choice:
    if name in CRITERIA:
        return Choice(setting.plain(name), setting.foundation)
    return CHOOSERS[name](setting)


def _compensated(setting: Setting) -> Setting:
    """Moments of the calibration images, where a run takes those of its scoring images: another part of as many."""
    images, _ = next(setting.bench.data.calibration.batches(len(setting.bench.data.calibration)))
    trunks = {
        growth: replace(trunk, moments=measure_inputs(trunk.network, trunk.layout, images, len(images)))
        for growth, trunk in setting.foundation.trunks.items()
    }
    return replace(setting, foundation=replace(setting.foundation, trunks=trunks))


def scratch(setting: Setting) -> Choice:
    """The widths of ``l1``; weights are drawn anew."""
    return Choice(setting.plain("l1"), setting.foundation)


def mean_rank(setting: Setting) -> Choice:
    """All criteria alike."""
    return Choice(setting.space.repair(setting.space.uniform(1.0)), setting.foundation)


def random_blend(setting: Setting) -> Choice:
    """One blend from the simplex."""
    return Choice(setting.space.sample(numpy_generator(setting.seed, "random blend")), setting.foundation)


def best_random_mask(setting: Setting) -> Choice:
    """Of masks that look at nothing, the one whose probe is best."""
    genome = setting.plain("random")
    row = setting.space.criteria.index("random")
    choices = []
    for i in range(setting.probes):
        rng = numpy_generator(setting.seed, "random mask", i)
        trunks = {}
        for growth, trunk in setting.foundation.trunks.items():
            ranks = {name: table.copy() for name, table in trunk.ranks.items()}
            for table in ranks.values():
                table[row] = rng.permutation(table.shape[1]) / max(table.shape[1] - 1, 1)
            trunks[growth] = replace(trunk, ranks=ranks)
        choices.append(Choice(genome, replace(setting.foundation, trunks=trunks)))
    return min(choices, key=lambda choice: probe_error(_probe(choice, setting)))


def best_random_blend(setting: Setting) -> Choice:
    """Of as many blends, drawn from the simplex."""
    draws = (setting.space.sample(numpy_generator(setting.seed, "random blends", i)) for i in range(setting.probes))
    return min((Choice(genome, setting.foundation) for genome in draws), key=lambda c: probe_error(_probe(c, setting)))


def paper(setting: Setting) -> Choice:
    """Criteria clusters and calibration factors, evolved from each criterion alone."""
    space = condensed(setting.space, setting.foundation.trunks, CLUSTERS)
    alone = [space.repair(space.uniform(1.0, tuple(row))) for row in np.eye(len(space.criteria)).tolist()]
    return _evolved(setting, space, [space.repair(space.uniform(1.0)), *alone])


def joint(setting: Setting) -> Choice:
    """Ratios and clustered blends, evolved from uniform ratios by L1 and by the clusters' first criteria alike."""
    space = replace(condensed(setting.space, setting.foundation.trunks, CLUSTERS), varies_ratios=True)
    starts = [uniform_control(space, space.budget), space.repair(space.uniform(1.0))]
    return _evolved(setting, space, starts)


CHOOSERS: dict[str, Callable[[Setting], Choice]] = {
    "mean rank": mean_rank,
    "random blend": random_blend,
    "best random mask": best_random_mask,
    "best random blend": best_random_blend,
    "paper": paper,
    "joint": joint,
    "scratch": scratch,
}


def _evolved(setting: Setting, space: Space, starts: Sequence[Genome]) -> Choice:
    strategy = Evolution(space, setting.seed, min(40, setting.probes // 3), "params", starts)
    foundation = replace(setting.foundation, space=space)
    probes: list[Evaluation] = []
    for number in range(setting.probes):
        probe = _probe(Choice(strategy.ask(number), foundation), setting, number)
        strategy.tell(probe)
        probes.append(probe)
    best = min((p for p in probes if p.ok), key=lambda p: (probe_error(p), p.request.number))
    return Choice(best.request.genome, foundation)


def _probe(choice: Choice, setting: Setting, number: int = 0) -> Evaluation:
    request = Request(number, PROBE, choice.genome, "study")
    return Evaluation(request, evaluate(request, replace(setting.bench, foundation=choice.foundation)))


def _before(choice: Choice, setting: Setting) -> float:
    """Test accuracy after recalibration alone."""
    network = place(choice.foundation.build(choice.genome).network, setting.bench.data.train)
    recalibrate(network, setting.bench.data.calibration, setting.bench.probe.batch_size)
    return measure_accuracy(network, setting.test).accuracy


def after_training(genome: Genome, bench: Bench, test: Tensors, stage: str = TRAIN) -> float:
    """Test accuracy of a candidate after its training."""
    request = Request(0, stage, genome, "study")
    outcome = evaluate(request, bench)
    if outcome.status != OK:
        raise RuntimeError(outcome.message)
    path = weights_path(bench.folder, request)
    network, _ = load_candidate(path, (bench.spec.name,))
    path.unlink()
    return measure_accuracy(place(network, test), test).accuracy


def as_table(config: SearchConfig, share: str, rows: Sequence[Row]) -> Printed:
    """One line a method, best after training first."""
    seeds = sorted({int(row["seed"]) for row in rows})
    found = {(str(row["method"]), int(row["seed"])): row for row in rows}
    params = [int(found["l1", seed]["params"]) for seed in seeds]
    title = f"{config.name}, {share} of the parameters ({min(params):,} to {max(params):,}), {len(seeds)} seeds"
    printed = Printed(title=title)
    for column in ("method", "before", "− l1", "after", "− l1 "):
        printed.add_column(column, justify="left" if column == "method" else "right")

    def values(method: str, when: str) -> np.ndarray:
        return 100 * np.array([float(found[method, seed][when]) for seed in seeds])

    methods = [method for method in METHODS if all((method, seed) in found for seed in seeds)]
    for method in sorted(methods, key=lambda m: -values(m, "after").mean()):
        cells = []
        for when in ("before", "after"):
            own = values(method, when)
            compared = method != "l1" and np.isfinite(own).all()
            shown = f"{own.mean():.1f}%" if np.isfinite(own).all() else "–"
            cells += [shown, difference(own - values("l1", when)) if compared else ""]
        printed.add_row(method, *cells)
    return printed


def difference(points: np.ndarray) -> str:
    """Mean and 95% interval; a star where it excludes zero."""
    around = Interval.of(points)
    return f"{around.mean:+.1f} [{around.low:+.1f}, {around.high:+.1f}]{'*' if around.low * around.high > 0 else ' '}"


def _settings(overrides: Sequence[str]) -> list[str]:
    return [f"space.criteria=[{', '.join(CRITERIA)}]", "space.growth=0", *overrides]


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML configuration of a search")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="override a setting")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shares", nargs="+", default=["1/4", "1/16", "1/64"], help="of the base network's parameters")
    parser.add_argument("--probes", type=int, default=120, help="of each method that chooses by probes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--work", type=Path, help="folder of unfinished work; default: runs/blends-NAME")
    arguments = parser.parse_args()
    arguments.methods = list(dict.fromkeys(("l1", *arguments.methods)))  # all others are compared with it
    return arguments


if __name__ == "__main__":
    main()
