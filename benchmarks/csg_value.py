"""What class overlap is worth: does it foretell the test error of small networks better than 1-nearest-neighbour does?

    python benchmarks/csg_value.py [--data FOLDER] [--again] [--out benchmarks/results/csg_value.json]

FOLDER holds cifar10-{train,test}.parquet and sign-digits-{train,test}.parquet; without it only the sources that are
always at hand are measured. About 10 minutes of one core with it. ``--again`` measures nothing and makes tables and
plot from what ``--out`` holds.

Every data set has 1,000 training images of 16 × 16 (``csg_variants.py``), every figure k = 3 and 3 draws of up to 100
samples per class, every embedding the same settings: CSG is comparable at equal N, M, k and embedding only. What is
foretold is the mean test error of three networks (``csg_networks.py``).

Figures of K classes are put on the scale of an error. Where classes share a part w of their votes with every other,
CSG is (K - 1) w, AULS w and cmsAULS K (K - 1) w² / 2, and the nearest neighbour errs in w (1 - 1/K): that error is what
each figure is turned into. "Overlap" is the mean similarity of two classes, w as well.

Intervals are bootstrapped over data sets. Variants of one source are kin, so the correlation is given within every
source as well, and the best of many figures looks better than it is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from csg_fit import Fit, choose_and_fit, fit
from csg_networks import NETWORKS, test_errors
from csg_plot import draw, is_neighbour, is_overlap
from csg_variants import Variant, make_variants
from rich.console import Console
from rich.table import Table
from scipy import stats
from sklearn.metrics import silhouette_score
from torch import Tensor

from spaces.randomness import numpy_generator
from workers.complexity.csg import csg_interval
from workers.complexity.embeddings import EMBEDDINGS
from workers.complexity.neighbours import neighbour_error

RESULTS = Path(__file__).parent / "results" / "csg_value.json"
PLOT = Path(__file__).parents[1] / "docs" / "csg_value.png"
NEIGHBOURS = 3
SAMPLES = 100
REPEATS = 3
RESAMPLES = 2000
EMBEDDED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "pixels": EMBEDDINGS["pixels"],
    "pca 32": EMBEDDINGS["pca"],
    "patches": EMBEDDINGS["patches"],
    "pca 3": partial(EMBEDDINGS["pca"], components=3),
    "tsne": partial(EMBEDDINGS["tsne"], iterations=500),
    "autoencoder": EMBEDDINGS["autoencoder"],
    "autoencoder-tsne": partial(EMBEDDINGS["autoencoder-tsne"], iterations=500),
}

RECOMMENDED = "patches | cmsauls votes"

Row = dict[str, Any]


def measure(variant: Variant) -> Row:
    """Errors of the networks, and every figure in every embedding."""
    began = time.process_time()
    errors = test_errors(variant)
    row: Row = {
        "name": variant.name,
        "source": variant.source,
        "classes": variant.classes,
        "images": len(variant.train),
        "errors": errors,
        "error": float(np.mean(list(errors.values()))),
        "training seconds": time.process_time() - began,
        "figures": {},
        "effective samples": {},
        "seconds": {},
    }
    for name, embed in EMBEDDED.items():
        began = time.process_time()
        points = embed(variant.train, 0)
        row["seconds"][name] = time.process_time() - began
        labels = variant.train_labels
        row["figures"][f"{name} | 1-NN error"] = neighbour_error(points, labels)
        row["figures"][f"{name} | silhouette"] = -float(silhouette_score(points.numpy(), labels.numpy()))
        for volume in (True, False):
            found = csg_interval(points, labels, 0, REPEATS, SAMPLES, NEIGHBOURS, volume)
            way = "volume" if volume else "votes"
            chance = 1 - 1 / variant.classes
            off_diagonal = float(found.similarity.sum() - found.similarity.trace()) / variant.classes
            row["figures"][f"{name} | csg {way}"] = chance * found.relative.mean
            row["figures"][f"{name} | auls {way}"] = chance * found.auls.mean
            row["figures"][f"{name} | cmsauls {way}"] = found.confusion
            row["figures"][f"{name} | overlap {way}"] = chance * off_diagonal / (variant.classes - 1)
            row["effective samples"][f"{name} {way}"] = found.effective_samples
    return row


def correlations(rows: list[Row]) -> list[Row]:
    """Pearson and Spearman with the error for every figure, with intervals, best first."""
    error = np.array([row["error"] for row in rows])
    sources = np.array([row["source"] for row in rows])
    many = [source for source in dict.fromkeys(sources.tolist()) if (sources == source).sum() > 3]
    drawn = _resamples(rows)
    table = []
    for figure in rows[0]["figures"]:
        values = np.array([row["figures"][figure] for row in rows])
        x, y = values[drawn], error[drawn]
        entry: Row = {
            "figure": figure,
            "pearson": float(pearson(values, error)),
            "pearson interval": _percentiles(pearson(x, y)),
            "spearman": float(pearson(_ranks(values), _ranks(error))),
            "spearman interval": _percentiles(pearson(_ranks(x), _ranks(y))),
            "within": {
                source: float(pearson(_ranks(values[sources == source]), _ranks(error[sources == source])))
                for source in many
            },
        }
        table.append(entry)
    return sorted(table, key=lambda entry: -entry["pearson"])


def advantage(rows: list[Row], figure: str, rival: str) -> tuple[float, list[float]]:
    """By how much the figure's Pearson correlation is above the rival's, with the paired bootstrap's interval."""
    error = np.array([row["error"] for row in rows])
    ours, theirs = (np.array([row["figures"][name] for row in rows]) for name in (figure, rival))
    drawn = _resamples(rows)
    gains = pearson(ours[drawn], error[drawn]) - pearson(theirs[drawn], error[drawn])
    return float(pearson(ours, error) - pearson(theirs, error)), _percentiles(gains)


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation along the last axis; NaN where either is constant."""
    u, v = (part - part.mean(-1, keepdims=True) for part in (x, y))
    return np.asarray((u * v).sum(-1) / np.sqrt((u * u).sum(-1) * (v * v).sum(-1)))


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.asarray(stats.rankdata(values, axis=-1))


def _resamples(rows: list[Row]) -> np.ndarray:
    return numpy_generator(0, "bootstrap").integers(0, len(rows), (RESAMPLES, len(rows)))


def best(found: list[Row], wanted: Callable[[str], bool]) -> str:
    """The figure of the highest Pearson correlation among those ``wanted``."""
    return next(str(entry["figure"]) for entry in found if wanted(entry["figure"]))


def fit_all(rows: list[Row]) -> list[Fit]:
    """Fits from overlap, from 1-NN and from both, in every embedding; least mean error on sources left out first."""
    fits = []
    for name in EMBEDDED:
        overlap, neighbour = f"{name} | cmsauls votes", f"{name} | 1-NN error"
        fits += [fit(rows, figures) for figures in ([overlap], [neighbour], [overlap, neighbour])]
    fits.append(fit(rows, ["pca 32 | cmsauls votes", RECOMMENDED]))
    return sorted(fits, key=lambda fitted: fitted.absolute)


def _percentiles(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.nanpercentile(values, [2.5, 97.5])]


def show(rows: list[Row]) -> None:
    console = Console(width=150)
    sets = Table("data set", "K", *NETWORKS, "mean error", title="Test errors")
    for row in rows:
        sets.add_row(
            row["name"], str(row["classes"]), *(f"{row['errors'][n]:.3f}" for n in NETWORKS), f"{row['error']:.3f}"
        )
    console.print(sets)
    found = correlations(rows)
    sources = list(found[0]["within"])
    table = Table("embedding | figure", "Pearson", "95 %", "Spearman", "95 %", *(f"ρ in {s}" for s in sources))
    for entry in found:
        bounds = [f"{low:.3f} … {high:.3f}" for low, high in (entry["pearson interval"], entry["spearman interval"])]
        within = [f"{entry['within'][source]:.2f}" for source in sources]
        table.add_row(
            entry["figure"], f"{entry['pearson']:.3f}", bounds[0], f"{entry['spearman']:.3f}", bounds[1], *within
        )
    console.print(table)
    for rival in dict.fromkeys((best(found, is_neighbour), "pixels | 1-NN error")):
        for figure in dict.fromkeys((best(found, is_overlap), RECOMMENDED)):
            gain, (low, high) = advantage(rows, figure, rival)
            console.print(f"Pearson of {figure!r} less that of {rival!r}: {gain:+.3f} ({low:+.3f} … {high:+.3f})")
    fits = Table(
        "angle(error) from", "coefficients", "σ in angles", "mean |error|", "Pearson", title="Sources left out"
    )
    for fitted in fit_all(rows):
        numbers = ", ".join(f"{value:.4f}" for value in fitted.coefficients)
        fits.add_row(
            " + ".join(fitted.figures),
            numbers,
            f"{fitted.deviation:.4f}",
            f"{fitted.absolute:.4f}",
            f"{fitted.correlation:.3f}",
        )
    console.print(fits)
    for kind, wanted in (("overlap", is_overlap), ("1-NN error", is_neighbour)):
        absolute, correlation = choose_and_fit(rows, [figure for figure in rows[0]["figures"] if wanted(figure)])
        console.print(
            f"one figure of {kind}, chosen and fitted on the other sources: {absolute:.3f}, r {correlation:.3f}"
        )
    console.print(
        f"training {sum(row['training seconds'] for row in rows):.0f} CPU seconds, embedding "
        + ", ".join(f"{name} {sum(row['seconds'][name] for row in rows):.0f}" for name in EMBEDDED)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = json.loads(arguments.out.read_text())["rows"] if arguments.again else []
    if not arguments.again:
        for variant in make_variants(arguments.data):
            rows.append(measure(variant))
            print(f"{variant.name}: error {rows[-1]['error']:.3f}", flush=True)
            # At once, so that an interrupted run leaves what it has.
            arguments.out.write_text(json.dumps(_rounded({"rows": rows}), indent=1) + "\n")
    document = {"made by": "benchmarks/csg_value.py", "correlations": correlations(rows), "rows": rows}
    arguments.out.write_text(json.dumps(_rounded(document), indent=1) + "\n")
    show(rows)
    found = correlations(rows)
    draw(rows, found, RECOMMENDED, best(found, is_neighbour), PLOT)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
