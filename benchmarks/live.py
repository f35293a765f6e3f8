"""A whole search with forecasts and without, at the same number of trainings, over several seeds.

    python benchmarks/live.py examples/digits.yaml [--seeds 5] [--set A.B=VALUE]

Controls and MLflow are left out; everything else is the product: Ray, probes, trainings, and at the end the front
measured on the test split. Both searches of a seed begin with the same base network. Printed per seed: the final
hypervolume by validation accuracy, which the search sees, and by test accuracy, which it does not; the shipped
network's test accuracy; and after how many trainings the search with forecasts had the validation hypervolume that the
one without had at its end. Runs stay in ``--out``: what was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from search.archive import Archive
from search.choice import trained
from search.front import Point, hypervolume, normalised
from search.loading import load_config
from search.run import Result, run_search
from workers.complexity.csg import Interval


@dataclass(frozen=True)
class Run:
    """What one search came to.

    Attributes:
        curve: validation hypervolume after each training.
        test: hypervolume of the front by test accuracy.
        shipped: test accuracy of the chosen network; NaN where none was.
    """

    curve: tuple[float, ...]
    test: float
    shipped: float


def main() -> None:
    arguments = _arguments()
    pairs = []
    for seed in range(arguments.seeds):
        steered = _run(arguments, f"with-{seed}", [f"seed={seed}"])
        base = arguments.out / f"with-{seed}" / "weights" / "base.safetensors"
        plain = [f"seed={seed}", f"network.weights={base}", "surrogate.enabled=false"]
        pairs.append((steered, _run(arguments, f"without-{seed}", plain)))
        print(f"seed {seed}: {pairs[-1]}", flush=True)
    Console(width=max(110, Console().width)).print(as_table(pairs))


def as_table(pairs: Sequence[tuple[Run, Run]]) -> Table:
    """One row a seed, and the mean of the paired differences with its 95% interval (Student's t)."""
    number = len(pairs[0][0].curve)
    printed = Table(title=f"with forecasts | without, {number} trainings each")
    for title in ("seed", "hypervolume, validation", "hypervolume, test", "shipped, test", "as good after"):
        printed.add_column(title, justify="right")
    for seed, (on, off) in enumerate(pairs):
        reached = next((f"{n} trainings" for n, v in enumerate(on.curve, 1) if v >= off.curve[-1]), "not")
        printed.add_row(
            str(seed),
            f"{on.curve[-1]:.4f} | {off.curve[-1]:.4f}",
            f"{on.test:.4f} | {off.test:.4f}",
            f"{on.shipped:.2%} | {off.shipped:.2%}",
            reached,
        )
    differences = [
        [on.curve[-1] - off.curve[-1] for on, off in pairs],
        [on.test - off.test for on, off in pairs],
        [100 * (on.shipped - off.shipped) for on, off in pairs],
    ]
    printed.add_section()
    printed.add_row("mean difference", *[interval(d) for d in differences], "")
    return printed


def _run(arguments: argparse.Namespace, name: str, settings: Sequence[str]) -> Run:
    plain = ["controls.enabled=false", "tracking.enabled=false", f"name={name}", f"out={arguments.out}"]
    result = run_search(load_config(Path(arguments.config), [*arguments.set, *plain, *settings]))
    chosen = result.finals.chosen_network
    return Run(
        curve(result),
        float(result.finals.hypervolume.test),
        math.nan if chosen is None else float(chosen.test_accuracy),
    )


def curve(result: Result) -> tuple[float, ...]:
    """Validation hypervolume after each training of the search."""
    cost, base = result.finals.cost, float(result.finals.base.cost(result.finals.cost))
    points = [
        Point(0.0, normalised(1.0 - e.metrics["accuracy"], e.metrics[cost], base))
        for e in trained(Archive(result.folder.archive).evaluations())
    ]
    return tuple(hypervolume(points[: n + 1]) for n in range(len(points)))


def interval(values: Sequence[float]) -> str:
    """Mean and half the width of its 95% interval."""
    if len(values) < 2:
        return f"{values[0]:+.4f}"
    found = Interval.of(values)
    return f"{found.mean:+.4f} ± {found.high - found.mean:.4f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML configuration of a search")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="override a setting")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/live"), help="folder of the runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
