"""A benchmark table as a search space: every operator of the product's space ends at a candidate of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from search.front import Point, normalised
from search.loading import parse_config
from search.schema import METRICS
from search.sizing import make_space
from spaces.genome import Genome
from spaces.growth import grow_structure, growths
from spaces.networks import NetworkSpec
from spaces.space import Space
from workers.evaluation import OK, PROBE, Evaluation, Outcome, Request
from workers.prepare import base_network, checked_layout

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of a table, by candidate, and what they are candidates of.

    Attributes:
        images: validation images behind every accuracy.
        base_cost: of the base network, by measure.
    """

    rows: Mapping[str, Row]
    space: TableSpace
    images: int
    base_cost: Mapping[str, int]

    def probe(self, request: Request) -> Evaluation:
        """What the table holds of a probe."""
        row = self.rows[request.genome.id]
        names = {name for name, _, _ in METRICS}
        metrics = {k.removeprefix("probe_"): v for k, v in row.items() if k.removeprefix("probe_") in names}
        metrics |= {k: row[k] for k in ("params", "macs", "bytes", "violation")}
        return self._answer(request, metrics, tuple(row["probe_embedding"]), row["probe_seconds"])

    def train(self, request: Request, seed: int = 0) -> Evaluation:
        """What the table holds of a training, told as an evaluation of whatever stage was asked."""
        row = self.rows[request.genome.id]
        metrics = {k: row[k] for k in ("params", "macs", "bytes", "violation")}
        metrics |= {"accuracy": row[f"train_{seed}_accuracy"], "loss": row[f"train_{seed}_loss"]}
        return self._answer(request, metrics, (), row[f"train_{seed}_seconds"])

    def answer(self, request: Request) -> Evaluation:
        """A probe or a training, as it was asked."""
        return self.probe(request) if request.stage == PROBE else self.train(request)

    def point(self, name: str, cost: str, held_out: bool) -> Point:
        """A trained candidate: by the validation accuracy that a search sees (training seed 0), or by what no search
        sees, the mean test accuracy of both training seeds."""
        row = self.rows[name]
        seen = row["train_0_accuracy"]
        accuracy = (row["train_0_test_accuracy"] + row["train_1_test_accuracy"]) / 2 if held_out else seen
        return self._point(row, accuracy, cost)

    def twin(self, name: str, cost: str) -> Point:
        """What the training under the other seed came to on validation."""
        return self._point(self.rows[name], self.rows[name]["train_1_accuracy"], cost)

    def _point(self, row: Row, accuracy: float, cost: str) -> Point:
        return Point(0.0, normalised(1.0 - accuracy, float(row[cost]), float(self.base_cost[cost])))

    @staticmethod
    def _answer(
        request: Request, metrics: Mapping[str, float], embedding: tuple[float, ...], seconds: float
    ) -> Evaluation:
        outcome = Outcome(request.number, OK, metrics=metrics, embedding=embedding, seconds=seconds)
        return Evaluation(request, outcome)


@dataclass(frozen=True)
class TableSpace(Space):
    """The product's space, but what it makes is the nearest candidate of a table.

    Near are candidates of like widths, group by group, of like growth and, with less weight, of like blends.
    """

    genomes: tuple[Genome, ...] = ()

    def sample(self, rng: np.random.Generator) -> Genome:
        """Any candidate, all as likely."""
        return self.genomes[int(rng.integers(len(self.genomes)))]

    def repair(self, genome: Genome) -> Genome:
        """The nearest candidate; of equals the first."""
        here = self._position(genome)
        return self.genomes[int(np.argmin(np.square(self._positions - here).sum(1)))]

    @cached_property
    def _positions(self) -> np.ndarray:
        return np.array([self._position(genome) for genome in self.genomes])

    def _position(self, genome: Genome) -> np.ndarray:
        widths = np.zeros(len(self.groups))
        widths[self._columns[genome.growth]] = np.log2(self.widths(genome) / self.layout(genome).sizes)
        blend = np.asarray(genome.blend)
        shares = blend / np.maximum(blend.sum(1, keepdims=True), 1e-9)
        return np.concatenate([widths, 2.0 * np.asarray(genome.growth, dtype=float), 0.3 * shares.ravel()])


def read_table(path: Path) -> Table:
    """The table in ``path`` as ``benchmarks/table.py`` wrote it; the data set is not needed."""
    stored = pq.read_table(path)
    about = {k.decode(): v.decode() for k, v in stored.schema.metadata.items() if not k.startswith(b"ARROW")}
    config = parse_config(yaml.safe_load(about["config"]), str(path))
    known = json.loads(about["base"])
    spec = NetworkSpec(config.network.name, tuple(known["shape"]), known["classes"], config.network.arguments)
    layouts = {}
    network = base_network(spec, config.seed)
    for growth in growths(network, config.space.growth):
        layouts[growth] = checked_layout(grow_structure(network, growth), spec.shape, config.network.keep)
    space = make_space(config, layouts)
    rows = {row["candidate"]: row for row in stored.to_pylist()}
    genomes = tuple(Genome.from_text(row["genome"]) for row in rows.values())
    of_table = TableSpace(**{f.name: getattr(space, f.name) for f in fields(Space)}, genomes=genomes)
    return Table(rows, of_table, known["validation_images"], {"params": known["params"], "macs": known["macs"]})
