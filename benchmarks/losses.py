"""What the losses of a training give the base network: accuracy, and the telling of images of another kind.

    python benchmarks/losses.py                                        # the demo's network on digits
    python benchmarks/losses.py --others signs=sign-digits-test.parquet
    python benchmarks/losses.py config.yaml --set data.limit=4000 --epochs 12 --others digits=digits

Per seed (split, first weights, order of images) the base network of the configuration is trained with each loss, all
else alike. First table: accuracy on the test split, mean over the seeds with its 90% interval (Student's t), and the
difference from cross-entropy, paired by seed. Second: AUROC of test images against images of other kinds (uniform
noise, the test images with their pixels permuted, and the sets of ``--others``, resized and turned grey as the
network's images are), by the largest softmax probability and by the Gaussian likelihood of ``l_gm``. Rows that are done
stay in ``--work``: other settings need another.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_1samp
from torch import Tensor, nn

from search.config import SearchConfig
from search.loading import load_config
from search.preflight import load_data
from spaces.memory_format import fastest_format
from spaces.networks import NetworkSpec
from spaces.randomness import seed_for
from workers.batches import Tensors, place, to_tensors
from workers.data import DataRequest, Splits, load_splits
from workers.measure.accuracy import measure_accuracy
from workers.measure.likelihood import detection, log_likelihood, max_softmax
from workers.measure.out_of_distribution import other_kinds
from workers.prepare import base_network
from workers.threads import torch_threads
from workers.train import TrainSettings, train

DEMO = Path(__file__).parents[1] / "examples" / "digits.yaml"
PLAIN = "cross_entropy"
METHODS: dict[str, dict[str, float | str]] = {
    PLAIN: {},
    "label_smoothing 0.1": {"label_smoothing": 0.1},
    "push 0.1": {"push": 0.1},
    "channel_correlation 0.1": {"channel_correlation": 0.1},
    "l_gm": {"loss": "l_gm"},
}
Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Setting:
    """One seed: what is trained on, and the images that are no test images."""

    spec: NetworkSpec
    settings: TrainSettings
    train: Tensors
    test: Tensors
    others: Mapping[str, Tensors]
    seed: int


def main() -> None:
    arguments = _arguments()
    work = arguments.work or Path("runs") / f"losses-{load_config(arguments.config, arguments.set).name}"
    work.mkdir(parents=True, exist_ok=True)
    path = work / "rows.jsonl"
    rows: list[Row] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["seed"], row["method"]) for row in rows}
    with torch_threads(1), path.open("a") as log:
        for seed in range(arguments.seeds):
            missing = [method for method in arguments.methods if (seed, method) not in done]
            setting = prepare(arguments, seed) if missing else None
            for method in missing:
                assert setting is not None
                row = measured(method, setting)
                rows.append(row)
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(f"seed {seed}, {method}: {row['accuracy']:.2%} in {row['seconds']:.0f} s", flush=True)
    console = Console(width=120)
    console.print(accuracy_table(rows, arguments.methods))
    console.print(detection_table(rows, arguments.methods))


def prepare(arguments: argparse.Namespace, seed: int) -> Setting:
    """Data and settings of a seed."""
    config: SearchConfig = load_config(arguments.config, [*arguments.set, f"seed={seed}"])
    splits = load_data(config.data, seed)
    spec = NetworkSpec(config.network.name, splits.train.shape, splits.train.classes, config.network.arguments)
    settings = TrainSettings(**config.base_training.model_dump())
    if arguments.epochs:
        settings = replace(settings, epochs=arguments.epochs)
    mean, std = splits.statistics()
    memory_format = fastest_format(base_network(spec, seed), spec.shape)
    train_split, test = (to_tensors(s, mean, std, memory_format=memory_format) for s in (splits.train, splits.test))
    return Setting(spec, settings, train_split, test, all_kinds(test, arguments.others, seed), seed)


def all_kinds(test: Tensors, files: Mapping[str, Path], seed: int) -> dict[str, Tensors]:
    """As many images as ``test`` has, or as there are, of each kind."""
    count, channels, height, _ = test.images.shape
    kinds = other_kinds(test, seed)
    for name, path in files.items():
        splits: Splits = load_splits(DataRequest(str(path), size=height, limit=2 * count, seed=seed))
        images = _channels(torch.from_numpy(splits.train.images[:count].copy()), channels)
        kinds[name] = replace(test, images=images, labels=torch.zeros(len(images)).long())
    return kinds


def _channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    grey = images.float().mean(1, keepdim=True).round().to(torch.uint8)
    return grey.expand(-1, channels, -1, -1).contiguous()


def measured(method: str, setting: Setting) -> Row:
    """One training."""
    began = time.perf_counter()
    network = place(base_network(setting.spec, setting.seed), setting.train)
    settings = replace(setting.settings, **METHODS[method])  # type: ignore[arg-type]
    train(network, setting.train, settings, seed_for(setting.seed, "base"))
    seconds = time.perf_counter() - began
    accuracy = measure_accuracy(network, setting.test).accuracy
    found = detections(network, setting, settings.loss == "l_gm")
    return {"seed": setting.seed, "method": method, "accuracy": accuracy, "seconds": seconds, **found}


def detections(network: nn.Module, setting: Setting, gaussian: bool) -> dict[str, float]:
    """AUROC by ``SCORE KIND``."""
    scores = {"softmax": max_softmax, **({"likelihood": log_likelihood} if gaussian else {})}
    return {
        f"{name}: {kind}": detection(score(network, setting.test), score(network, images))
        for name, score in scores.items()
        for kind, images in setting.others.items()
    }


def accuracy_table(rows: Sequence[Row], methods: Sequence[str]) -> Table:
    """One line a loss."""
    seeds = sorted({int(row["seed"]) for row in rows})
    table = Table(title=f"test accuracy, %, {len(seeds)} seeds: mean ± 90%, and paired difference from cross-entropy")
    for column in ("loss", "accuracy", "− cross-entropy", "seconds"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    plain = _values(rows, PLAIN, "accuracy")
    for method in methods:
        own = _values(rows, method, "accuracy")
        difference = "" if method == PLAIN else _interval(100 * (own - plain), "+")
        table.add_row(method, _interval(100 * own), difference, f"{_values(rows, method, 'seconds').mean():.1f}")
    return table


def detection_table(rows: Sequence[Row], methods: Sequence[str]) -> Table:
    """One line a loss and score."""
    kinds = list(dict.fromkeys(key.partition(": ")[2] for row in rows for key in row if ": " in key))
    table = Table(title="AUROC, %, of test images against others: mean ± 90%")
    for column in ("loss", "score", *kinds):
        table.add_column(column, justify="left" if column in ("loss", "score") else "right")
    for method in methods:
        for score in ("softmax", "likelihood"):
            cells = [_values(rows, method, f"{score}: {kind}") for kind in kinds]
            if all(len(values) for values in cells):
                table.add_row(method, score, *(_interval(100 * values) for values in cells))
    return table


def _values(rows: Sequence[Row], method: str, name: str) -> np.ndarray:
    """By seed."""
    found = {int(row["seed"]): float(row[name]) for row in rows if row["method"] == method and name in row}
    return np.array([found[seed] for seed in sorted(found)])


def _interval(values: np.ndarray, sign: str = "") -> str:
    """Mean and 90% interval; a star where a difference's excludes zero."""
    if len(values) < 2 or np.ptp(values) == 0:
        return f"{values.mean():{sign}.2f}"
    low, high = ttest_1samp(values, 0).confidence_interval(0.9)
    star = "*" if sign and low * high > 0 else ""
    return f"{values.mean():{sign}.2f} ± {(high - low) / 2:.2f}{star}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=DEMO, help="YAML configuration of a search")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="override a setting")
    parser.add_argument("--epochs", type=int, help="of each training; default: base_training.epochs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--others", nargs="*", default=[], metavar="NAME=SOURCE", help="other images: Parquet, or digits"
    )
    parser.add_argument("--work", type=Path, help="folder of unfinished work; default: runs/losses-NAME")
    arguments = parser.parse_args()
    arguments.methods = list(dict.fromkeys((PLAIN, *arguments.methods)))  # all others are compared with it
    arguments.others = {name: Path(file) for name, _, file in (text.partition("=") for text in arguments.others)}
    return arguments


if __name__ == "__main__":
    main()
