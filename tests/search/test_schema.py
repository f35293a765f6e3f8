"""Rows say all that an evaluation holds, and nothing else."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.schema import METRICS, SCHEMA, SCHEMA_VERSION, WALL_CLOCK_COLUMNS, from_row, to_row
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, REASONS, SCRATCH, TRAIN, Evaluation, Outcome, Request

reals = st.floats(allow_nan=False)
counts = st.integers(0, 2**62)
unit = st.floats(0, 1)
genomes = st.builds(
    Genome,
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.floats(0.01, 1),
    st.lists(unit, max_size=5).map(tuple),
    st.lists(st.lists(unit, min_size=2, max_size=2).map(tuple), max_size=3).map(tuple),
)
metrics = st.fixed_dictionaries(
    {}, optional={name: counts if kind == pa.int64() else reals for name, kind, _ in METRICS} | {"latency_ms": reals}
)
messages = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    number = draw(st.integers(0, 2**40))
    stage = draw(st.sampled_from([PROBE, TRAIN, SCRATCH]))
    request = Request(number, stage, draw(genomes), draw(messages), draw(st.integers(0, 9)))
    rest: dict[str, Any] = {"seconds": draw(reals), "worker": draw(messages), "attempts": draw(st.integers(1, 3))}
    if draw(st.booleans()):
        return Evaluation(request, Outcome(number, FAILED, draw(st.sampled_from(REASONS)), draw(messages), **rest))
    embedding = draw(st.lists(reals, max_size=4).map(tuple))
    return Evaluation(request, Outcome(number, OK, metrics=draw(metrics), embedding=embedding, **rest))


def through_parquet(row: dict[str, Any]) -> dict[str, Any]:
    (back,) = pa.Table.from_pylist([row], schema=SCHEMA).to_pylist()
    return dict(back)


@given(evaluations())
def test_an_evaluation_survives_the_journal_and_parquet(evaluation: Evaluation) -> None:
    row = to_row(evaluation, 1.0)
    assert from_row(row) == evaluation
    assert from_row(json.loads(json.dumps(row))) == evaluation
    assert from_row(through_parquet(row)) == evaluation


def test_a_row_has_every_column_and_no_other() -> None:
    evaluation = Evaluation(Request(0, PROBE, Genome((), 1.0, (), ()), "test"), Outcome(0, OK))
    assert set(to_row(evaluation, 0.0)) == set(SCHEMA.names)
    assert set(WALL_CLOCK_COLUMNS) < set(SCHEMA.names)
    assert SCHEMA.metadata == {b"niwaki_schema": str(SCHEMA_VERSION).encode()}
    assert all(field.metadata[b"description"] for field in SCHEMA)


def test_numbers_of_numpy_become_plain_ones() -> None:
    measured: dict[str, Any] = {"accuracy": np.float32(0.5), "params": np.int64(7), "macs": 9.0}
    embedding: tuple[Any, ...] = (np.float32(0.25),)
    outcome = Outcome(0, OK, metrics=measured, embedding=embedding, seconds=np.float64(1.5))
    row = to_row(Evaluation(Request(0, PROBE, Genome((), 1.0, (), ()), "test"), outcome), 0.0)
    assert json.loads(json.dumps(row)) == row
    back = from_row(row)
    assert (dict(back.metrics), back.outcome.embedding) == ({"accuracy": 0.5, "params": 7, "macs": 9}, (0.25,))
    assert isinstance(back.metrics["macs"], int)


@pytest.mark.parametrize("name", ["accuracy", "latency_ms"])
def test_missing_and_not_a_number_stay_apart(name: str) -> None:
    request = Request(0, PROBE, Genome((), 1.0, (), ()), "test")
    missing = from_row(through_parquet(to_row(Evaluation(request, Outcome(0, OK)), 0.0)))
    assert name not in missing.metrics
    odd = Outcome(0, OK, metrics={name: math.nan})
    assert math.isnan(from_row(through_parquet(to_row(Evaluation(request, odd), 0.0))).metrics[name])


def test_a_genome_is_known_by_its_content() -> None:
    genome = Genome((1,), 0.5, (0.25,), ((1.0, 0.0),))
    row = to_row(Evaluation(Request(3, TRAIN, genome, "test", 2), Outcome(3, OK)), 0.0)
    assert (row["candidate"], row["genome"], row["repeat"]) == (genome.id, genome.text, 2)
