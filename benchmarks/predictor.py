"""How well trained accuracy is foretold on a table of candidates, and what each input is worth.

    python benchmarks/predictor.py benchmarks/tables/digits.parquet [--splits 30]

Everything is measured on held-out candidates, over random splits of the table; intervals are 95% over the splits
(normal; of paired differences where two are compared). The ceiling is Kendall's τ between the two training seeds: no
forecast of one seed can be expected to rank it better than the other seed does. Printed are the learning curve of what
a search uses, the inputs one by one (added to or taken from what the trees see), the regressors, and every single
measurement, over all candidates and among candidates of like MACs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Printed
from scipy import stats
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from table_space import Table, read_table

from search.surrogate.inputs import GENOME, GROUPS, PROBED, PROCESS, Candidate, matrix
from search.surrogate.predictor import Predictor
from search.surrogate.scale import log_odds
from spaces.genome import Genome
from workers.evaluation import PROBE, Request

SIZES = (10, 20, 40, 100, 200)
LIKE = 10
"""Candidates are sorted by MACs and cut into so many parts of like MACs."""

Ranks = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Inputs and accuracies to learn from, inputs to foretell: something that ranks the latter."""


@dataclass(frozen=True)
class Data:
    """The candidates of a table, and what their trainings under both seeds came to: float ``[N]``."""

    table: Table
    candidates: list[Candidate]
    first: np.ndarray
    second: np.ndarray

    def inputs(self, groups: Sequence[str]) -> np.ndarray:
        return matrix(self.table.space, self.candidates, groups)

    def names(self, group: str) -> list[str]:
        """Of the columns of one group."""
        return list(GROUPS[group](self.table.space, self.candidates[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--splits", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=max(110, Console().width))
    for path in arguments.tables:
        data = load(path)
        ceiling = _tau(data.first, data.second)
        console.print(
            f"{path.name}: {len(data.candidates)} candidates; ceiling τ {ceiling:.3f}, 95% of it {0.95 * ceiling:.3f}"
        )
        for part in (learning_curve, inputs, regressors):
            console.print(part(data, arguments.splits))
        console.print(measurements(data))


def load(path: Path) -> Data:
    """The candidates of the table in ``path`` as a predictor sees them."""
    table = read_table(path)
    candidates = []
    for name, row in table.rows.items():
        probe = table.probe(Request(0, PROBE, Genome.from_text(row["genome"]), name))
        tuned = row.get("tune_0_accuracy")
        candidates.append(Candidate(probe.request.genome, probe.metrics, probe.outcome.embedding, tuned))
    seeds = [np.array([row[f"train_{s}_accuracy"] for row in table.rows.values()]) for s in (0, 1)]
    return Data(table, candidates, *seeds)


def learning_curve(data: Data, splits: int) -> Printed:
    """τ and the share of intervals that hold, by the number of trainings learnt from."""
    kinds = {"probed": (PROCESS, PROBED), "genomes alone": (GENOME, GENOME)}
    printed = _printed(
        "what a search uses", "trainings", *[f"{what}, {k}" for k in kinds for what in ("τ", "90% hold")]
    )
    for size in (s for s in SIZES if s <= len(data.first) // 2):
        row = []
        for groups in kinds.values():
            taus, held = [], []
            x = [data.inputs(g) for g in groups]
            for learn, test in _splits(data, size, splits):
                predictor = Predictor(*[part[learn] for part in x], data.first[learn], data.table.images)
                forecast = predictor.predict(*[part[test] for part in x])
                taus.append(_tau(forecast.mean, data.first[test]))
                held.append(np.mean((forecast.low <= data.first[test]) & (data.first[test] <= forecast.high)))
            row += [_mean(taus), _mean(held)]
        printed.add_row(str(size), *row)
    return printed


def inputs(data: Data, splits: int) -> Printed:
    """Every group of inputs and every proxy: alone, taken from all that the trees see, and added to the genome's."""
    printed = _printed("inputs, learning from 100", "input", "τ alone", "all without it", "genome's with it")
    size, few, genome = min(100, len(data.first) // 2), data.inputs(PROCESS), data.inputs(GENOME)
    groups = [g for g in (*PROBED, "blend", "tuned") if data.inputs((g,)).size]
    names = [name for group in groups for name in data.names(group)]
    everything = data.inputs(groups)

    def taus(less: np.ndarray, more: np.ndarray) -> np.ndarray:
        found = []
        for a, b in _splits(data, size, splits):
            predictor = Predictor(less[a], more[a], data.first[a], data.table.images)
            found.append(_tau(predictor.predict(less[b], more[b]).mean, data.first[b]))
        return np.array(found)

    least, most = taus(genome, genome), taus(few, everything)
    proxies = {name: [name] for name in data.names("proxies")} if "proxies" in groups else {}
    for title, columns in ({g: data.names(g) for g in groups} | proxies).items():
        chosen = np.array([name in columns for name in names])
        alone, rest = everything[:, chosen], everything[:, ~chosen]
        with_it = "–" if title in GENOME else _mean(taus(genome, np.hstack([genome, alone])) - least, sign="+")
        printed.add_row(
            title,
            _mean(taus(alone, alone)),
            _mean(taus(genome if title == "refit" else few, rest) - most, sign="+"),
            with_it,
        )
    printed.add_row("genome's", _mean(least), "", "")
    printed.add_row("all", _mean(most), "", "")
    return printed


def regressors(data: Data, splits: int) -> Printed:
    """Kinds of regression on the genome's and on all inputs."""
    kinds: dict[str, Ranks] = {
        "both (ours)": _both,
        "Gaussian process": _process,
        "ridge": _scikit(lambda: make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 12))), data.table.images),
        "random forest": _scikit(lambda: RandomForestRegressor(200, random_state=0), data.table.images),
        "extra trees": _scikit(lambda: ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0), data.table.images),
    }
    printed = _printed("regressors", "kind", *[f"{n} trainings, {w}" for n in (40, 100) for w in ("genome", "all")])
    for name, kind in kinds.items():
        row = []
        for size in (40, 100):
            for groups in (GENOME, PROBED):
                x = data.inputs(groups)
                pairs = _splits(data, min(size, len(data.first) // 2), splits)
                row.append(_mean([_tau(kind(x[a], data.first[a], x[b]), data.first[b]) for a, b in pairs]))
        printed.add_row(name, *row)
    return printed


def measurements(data: Data) -> Printed:
    """Every single measurement against the mean accuracy of both seeds."""
    printed = _printed("single measurements", "measurement", "τ", "τ among like MACs")
    mean = (data.first + data.second) / 2
    x = data.inputs(tuple(GROUPS))
    names = [name for group in GROUPS for name in data.names(group)]
    macs = x[:, names.index("macs")]
    parts = np.array_split(np.argsort(macs), LIKE)
    rows = []
    for name, column in zip(names, x.T, strict=True):
        like = np.mean([_tau(column[part], mean[part]) for part in parts])
        rows.append((name, _tau(column, mean), like))
    for name, free, like in sorted(rows, key=lambda r: -abs(r[2])):
        printed.add_row(name, f"{free:+.2f}", f"{like:+.2f}")
    return printed


def _splits(data: Data, size: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices to learn from and to test on: the same for all that is compared."""
    orders = [np.random.default_rng(i).permutation(len(data.first)) for i in range(count)]
    return [(order[:size], order[size:]) for order in orders]


def _both(x: np.ndarray, accuracy: np.ndarray, others: np.ndarray) -> np.ndarray:
    return Predictor(x, x, accuracy, 300).predict(others, others).mean


def _process(x: np.ndarray, accuracy: np.ndarray, others: np.ndarray) -> np.ndarray:
    kernel = 0.5 * RBF(np.sqrt(x.shape[1])) + 0.1 * DotProduct(1.0, "fixed") + WhiteKernel(0.05)
    scale = StandardScaler().fit(x)
    y = log_odds(accuracy, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process = GaussianProcessRegressor(kernel, normalize_y=True).fit(scale.transform(x), y)
    return np.asarray(process.predict(scale.transform(others)))


def _scikit(make: Callable[[], object], images: int) -> Ranks:
    def ranks(x: np.ndarray, accuracy: np.ndarray, others: np.ndarray) -> np.ndarray:
        model = make()
        model.fit(x, log_odds(accuracy, images))  # type: ignore[attr-defined]
        return np.asarray(model.predict(others))  # type: ignore[attr-defined]

    return ranks


def _tau(first: np.ndarray, second: np.ndarray) -> float:
    tau = float(stats.kendalltau(first, second).statistic)
    return 0.0 if np.isnan(tau) else tau


def _mean(values: Sequence[float] | np.ndarray, sign: str = "") -> str:
    reach = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):{sign}.3f} ± {reach:.3f}"


def _printed(title: str, *columns: str) -> Printed:
    printed = Printed(title=title, title_justify="left")
    for i, column in enumerate(columns):
        printed.add_column(column, justify="right" if i else "left")
    return printed


if __name__ == "__main__":
    main()
