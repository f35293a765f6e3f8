"""How a candidate should be trained: the configuration's recipe against others that change one thing of it.

    python benchmarks/recipes.py examples/digits.yaml [--seeds 5] [--shares 1/16 1/64] [--set A.B=VALUE]

Per seed (split, base network) and share of the base network's parameters, the network that the mean rank of all
criteria leaves at uniform ratios is trained from its inherited weights by each recipe, and measured on the test split.
Recipes are the settings of ``training`` with the changes that stand in a row's name; all train equally long. Printed
per share: mean accuracies over the seeds, how far each is from the configuration's own (paired over the seeds, 95%
interval by Student's t; a star where it excludes zero), and seconds of a training. Rows that are done stay in
``--work``: other settings need another.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from blend_study import after_training, difference
from rich.console import Console
from rich.table import Table
from table import prepare

from search.loading import load_config
from spaces.budget import Budget
from workers.jobs import make_bench
from workers.threads import torch_threads

OWN = "the configuration's"
RECIPES: Mapping[str, Mapping[str, float | str]] = {
    OWN: {},
    "shift 1": {"shift": 1},
    "shift 1, one_cycle": {"shift": 1, "schedule": "one_cycle"},
    "shift 1, one_cycle, learning_rate 0.01": {"shift": 1, "schedule": "one_cycle", "learning_rate": 0.01},
    "shift 1, one_cycle, distillation 0": {"shift": 1, "schedule": "one_cycle", "distillation": 0.0},
    "one_cycle": {"schedule": "one_cycle"},
    "one_cycle, learning_rate 0.01": {"schedule": "one_cycle", "learning_rate": 0.01},
    "one_cycle, distillation 0": {"schedule": "one_cycle", "distillation": 0.0},
    "distillation 0": {"distillation": 0.0},
    "distillation 0.9": {"distillation": 0.9},
    "temperature 2": {"temperature": 2.0},
    "label_smoothing 0.1, distillation 0": {"label_smoothing": 0.1, "distillation": 0.0},
    "learning_rate 0.001": {"learning_rate": 0.001},
    "learning_rate 0.01": {"learning_rate": 0.01},
    "weight_decay 0.1": {"weight_decay": 0.1},
    "ema 0.99": {"ema": 0.99},
    "push 0.1": {"push": 0.1},
    "loss l_gm": {"loss": "l_gm"},
    "cutout 2": {"cutout": 2},
}
Row = dict[str, float | int | str]


def main() -> None:
    arguments = _arguments()
    config = load_config(arguments.config, arguments.set)
    work = arguments.work or Path("runs") / f"recipes-{config.name}"
    work.mkdir(parents=True, exist_ok=True)
    path = work / "rows.jsonl"
    rows: list[Row] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["seed"], row["share"], row["recipe"]) for row in rows}
    with torch_threads(1), path.open("a") as log:
        for seed in range(arguments.seeds):
            missing = [(s, r) for s in arguments.shares for r in arguments.recipes if (seed, s, r) not in done]
            for row in measured(arguments, work / f"seed-{seed}", seed, missing) if missing else ():
                rows.append(row)
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(f"seed {seed}, {row['share']}, {row['recipe']}: {row['accuracy']:.2%}", flush=True)
    console = Console(width=max(110, Console().width))
    for share in arguments.shares:
        console.print(as_table(share, [row for row in rows if row["share"] == share], arguments.recipes))


def measured(arguments: argparse.Namespace, work: Path, seed: int, missing: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Rows of one seed."""
    config = load_config(arguments.config, [*arguments.set, f"seed={seed}", "space.growth=0"])
    work.mkdir(parents=True, exist_ok=True)
    data, settings, foundation, test = prepare(config, work)
    base = foundation.space.ungrown
    for share, name in missing:
        budget = Budget(params=int(Fraction(share) * base.cost(base.full()).params))
        space = replace(foundation.space, budget=budget)
        genome = space.repair(space.uniform(1.0))
        own = replace(settings, training=replace(settings.training, **RECIPES[name]))  # type: ignore[arg-type]
        bench = replace(make_bench(data, own, replace(foundation, space=space)), memory_mb=None)
        began = time.process_time()
        accuracy = after_training(genome, bench, replace(test, memory_format=bench.data.train.memory_format))
        seconds = time.process_time() - began
        row = {"seed": seed, "share": share, "recipe": name, "accuracy": accuracy, "seconds": seconds}
        yield {**row, "params": space.cost(genome).params}


def as_table(share: str, rows: Sequence[Row], recipes: Sequence[str]) -> Table:
    """One line a recipe, best first."""
    seeds = sorted({int(row["seed"]) for row in rows})
    found = {(str(row["recipe"]), int(row["seed"])): row for row in rows}
    params = [int(row["params"]) for row in rows]
    table = Table(title=f"{share} of the parameters ({min(params):,} to {max(params):,}), {len(seeds)} seeds")
    for column in ("recipe", "test", "points more", "seconds"):
        table.add_column(column, justify="left" if column == "recipe" else "right")

    def values(recipe: str, what: str) -> np.ndarray:
        return np.array([float(found[recipe, seed][what]) for seed in seeds])

    for recipe in sorted(recipes, key=lambda name: -values(name, "accuracy").mean()):
        own = 100 * values(recipe, "accuracy")
        more = "" if recipe == OWN else difference(own - 100 * values(OWN, "accuracy"))
        table.add_row(recipe, f"{own.mean():.1f}%", more, f"{np.median(values(recipe, 'seconds')):.1f}")
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML configuration of a search")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="override a setting")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shares", nargs="+", default=["1/16", "1/64"], help="of the base network's parameters")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--work", type=Path, help="folder of unfinished work; default: runs/recipes-NAME")
    arguments = parser.parse_args()
    arguments.recipes = list(dict.fromkeys((OWN, *arguments.recipes)))
    return arguments


if __name__ == "__main__":
    main()
