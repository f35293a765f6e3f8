"""Accuracy against width of the inception family on small data sets, and the curve that `niwaki complexity` keeps.

    python benchmarks/width_curves.py [--data FOLDER] [--epochs 12] [--seeds 0] [--record FILE | --fit FILE]

Trains the family at α = 1, ½, ¼, ⅛, 1/16 on each data set, fits ρ(α, c) = 1 − (β0 + β·c)·(log2 1/α)^γ to the retained
accuracies, and prints the fits with and without image complexity: with the error on data of a source that was left out
of the fit (all variants of a source leave together, as they are no independent data sets), the share of its points
that fell into the 95% intervals, and, at the end, the constants of `workers/complexity/width_reference.py`.

Without --data only scikit-learn's digits and variants of it are at hand; FOLDER holds cifar10-train.parquet and
sign-digits-train.parquet with their -test files. Those are cut to 1,000 images, a fifth of them held out. A data set
is scored on what is held out and on up to 1,500 images of its test split, which serve for nothing else. α is the
square root of the share of parameters that is left, which rounding to whole channels moves a little.

--record keeps the trainings as JSON, --fit prints the fits of such a file again. Five CPU minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.ndimage import gaussian_filter

from spaces.networks import NetworkSpec, build_network
from spaces.randomness import numpy_generator, torch_generator
from workers.batches import Tensors, place, to_tensors
from workers.complexity.image import measure_images
from workers.complexity.scaling import Curve, fit_curve
from workers.data import DataRequest, Images, Splits, load_splits
from workers.measure.accuracy import measure_accuracy
from workers.train import TrainSettings, train

FACTORS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
STEM, WIDTHS, MODULES = 32, (64, 128, 208), (1, 2, 1)
LEAST_MODULE = 8
SIDE, LIMIT = 16, 1000
MEASURES = ("jpeg", "blobs", "frequency")
MODELS: tuple[tuple[str, ...], ...] = ((), ("jpeg",), ("blobs",), ("frequency",), ("jpeg", "blobs"))
Change = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Training:
    """One training. ``factor`` is √(share of parameters); ``complexity`` holds the means of :data:`MEASURES`."""

    data_set: str
    source: str
    seed: int
    asked: float
    factor: float
    params: int
    accuracy: float
    complexity: tuple[float, ...]


def small_data_sets(folder: Path | None) -> Iterator[tuple[str, str, Splits]]:
    """Name, source and images of each data set."""
    digits = load_splits(DataRequest("digits"))
    yield "digits 8", "digits", digits
    yield "digits 8, noisy", "digits", _changed(digits, _add_noise)
    if folder is None:
        return
    for source in ("cifar10", "sign-digits"):
        learned, test = (str(folder / f"{source}-{part}.parquet") for part in ("train", "test"))
        splits = load_splits(DataRequest(learned, test, size=SIDE, limit=LIMIT))
        yield f"{source} {SIDE}", source, splits
        yield f"{source} {SIDE}, blurred", source, _changed(splits, _blur)


def _changed(splits: Splits, change: Change) -> Splits:
    parts = (splits.train, splits.validation, splits.test)
    return Splits(*(Images(change(p.images), p.labels, p.class_names) for p in parts))


def _add_noise(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    noise = numpy_generator(0, "width curves", len(images)).normal(0, 80, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def _blur(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(gaussian_filter(images, (0, 0, 1.0, 1.0)), dtype=np.uint8)


def train_all(folder: Path | None, seeds: Sequence[int], epochs: int, record: Path | None) -> list[Training]:
    """Every data set at every width, once for each seed; kept in ``record`` after each data set."""
    found = []
    for name, source, splits in track(small_data_sets(folder), description="training", total=6 if folder else 2):
        started = time.process_time()
        complexity = tuple(mean.value for mean in measure_images(splits.train.images).means().values())
        full = 0
        for factor in FACTORS:
            for seed in seeds:
                params, accuracy = _train_one(splits, factor, seed, epochs)
                full = params if factor == 1 else full
                alpha = math.sqrt(params / full)
                found.append(Training(name, source, seed, factor, alpha, params, accuracy, complexity))
        if record is not None:
            record.write_text(json.dumps([asdict(t) for t in found], indent=1) + "\n")
        Console(stderr=True).print(f"{name}: {time.process_time() - started:.0f} s of CPU time")
    return found


def _train_one(splits: Splits, factor: float, seed: int, epochs: int) -> tuple[int, float]:
    mean, std = splits.statistics()
    learned, validation, test = (to_tensors(p, mean, std) for p in (splits.train, splits.validation, splits.test))
    arguments = {
        "stem": max(1, round(STEM * factor)),
        "widths": [max(LEAST_MODULE, round(w * factor)) for w in WIDTHS],
        "modules": list(MODULES),
    }
    spec = NetworkSpec("inception", splits.train.shape, splits.train.classes, arguments)
    network = place(build_network(spec, torch_generator(seed, "width curves", "weights")), learned)
    train(network, learned, TrainSettings(epochs=epochs), seed)
    return sum(p.numel() for p in network.parameters()), _held_out_accuracy(network, [validation, test.first(1500)])


@torch.inference_mode()
def _held_out_accuracy(network: torch.nn.Module, parts: Sequence[Tensors]) -> float:
    right = sum(measure_accuracy(network, part, 256).accuracy * len(part) for part in parts)
    return right / sum(len(part) for part in parts)


def fit(trainings: Sequence[Training], measures: Sequence[str]) -> Curve:
    """The curve of all ``trainings`` with these complexity measures."""
    rows = _averaged(trainings)
    names = sorted({t.data_set for t in rows})
    return fit_curve(
        [t.factor for t in rows],
        [t.accuracy for t in rows],
        [_chosen(t, measures) for t in rows],
        [names.index(t.data_set) for t in rows],
    )


def _averaged(trainings: Sequence[Training]) -> list[Training]:
    """One row a data set and width, the mean over seeds: seeds are no independent evidence about widths."""
    groups: dict[tuple[str, float], list[Training]] = {}
    for t in trainings:
        groups.setdefault((t.data_set, t.asked), []).append(t)
    return [replace(g[0], accuracy=float(np.mean([t.accuracy for t in g]))) for g in groups.values()]


def _chosen(training: Training, measures: Sequence[str]) -> list[float]:
    return [training.complexity[MEASURES.index(m)] for m in measures]


def left_out(trainings: Sequence[Training], measures: Sequence[str]) -> tuple[float, float]:
    """Root mean square error and share within the interval, on sources left out of the fit."""
    errors, held = [], []
    for source in sorted({t.source for t in trainings}):
        curve = fit([t for t in trainings if t.source != source], measures)
        others = _averaged([t for t in trainings if t.source == source])
        full = {t.data_set: t.accuracy for t in others if t.asked == 1}
        for t in others:
            if t.asked == 1:
                continue
            share, complexity = t.accuracy / full[t.data_set], _chosen(t, measures)
            errors.append(curve.retained(t.factor, complexity) - share)
            low, high = curve.interval(t.factor, complexity)
            held.append(low <= share <= high)
    return float(np.sqrt(np.mean(np.square(errors)))), float(np.mean(held))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the Parquet sets")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--record", type=Path, help="file to keep the trainings in")
    parser.add_argument("--fit", type=Path, help="print the fits of this file; trains nothing")
    arguments = parser.parse_args()
    if arguments.fit:
        trainings = [Training(**row) for row in json.loads(arguments.fit.read_text())]
    else:
        torch.set_num_threads(1)
        trainings = train_all(arguments.data, arguments.seeds, arguments.epochs, arguments.record)
    console = Console(highlight=False, width=120)
    console.print(_trainings_table(trainings))
    console.print(_fits_table(trainings))
    for measures in MODELS:
        console.print(" + ".join(measures) or "no measure", fit(trainings, measures), markup=False)


def _trainings_table(trainings: Sequence[Training]) -> Table:
    table = Table(box=None, pad_edge=False, title="retained accuracy, mean over seeds")
    for name in ("data set", *MEASURES, "accuracy", *(f"α {f:g}" for f in FACTORS[1:])):
        table.add_column(name, justify="left" if name == "data set" else "right")
    rows = _averaged(trainings)
    for name in dict.fromkeys(t.data_set for t in rows):
        first, *narrower = [t for t in rows if t.data_set == name]
        shares = [f"{t.accuracy / first.accuracy:.3f} ({t.factor:.3f})" for t in narrower]
        table.add_row(name, *(f"{c:.3f}" for c in first.complexity), f"{first.accuracy:.3f}", *shares)
    return table


def _fits_table(trainings: Sequence[Training]) -> Table:
    sources = len({t.source for t in trainings})
    table = Table(box=None, pad_edge=False, title=f"fits; left out: one of {sources} sources at a time")
    for name in ("measures", "error per octave", "error left out", "within 95% interval"):
        table.add_column(name, justify="left" if name == "measures" else "right")
    for measures in MODELS:
        error, held = left_out(trainings, measures) if sources > 1 else (math.nan, math.nan)
        noise = fit(trainings, measures).noise
        table.add_row(" + ".join(measures) or "none", f"{noise:.3f}", f"{error:.3f}", f"{held:.0%}")
    return table


if __name__ == "__main__":
    main()
