"""Measurements survive JSON, wrong ones are named, and the tables say what they say."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from report_fixtures import archive, evaluations, finals, measured
from rich.console import Console

from search.report import Finals, Sameness, front_rows, front_table, verdict_table
from search.report.tables import FRONT_SCHEMA


@pytest.fixture(scope="module")
def made() -> Finals:
    return finals(archive(evaluations()))


def test_json_round_trip(made: Finals) -> None:
    text = json.dumps(made.to_json(), allow_nan=False)
    assert Finals.from_json(json.loads(text)) == made


def test_what_was_not_measured_is_null_and_nan_again(made: Finals) -> None:
    network = replace(made.base, test_accuracy=math.nan, sameness={"onnx": Sameness(math.nan, math.inf)}, latency=None)
    fields = replace(made, base=network).to_json()
    assert fields["base"]["test_accuracy"] is None
    back = Finals.from_json(json.loads(json.dumps(fields, allow_nan=False))).base
    assert math.isnan(back.test_accuracy)
    assert math.isnan(back.sameness["onnx"].agreement)
    assert math.isnan(back.worst.difference)


def test_wrong_measurements_are_named(made: Finals) -> None:
    with pytest.raises(ValueError, match="version 99"):
        Finals.from_json({**made.to_json(), "version": 99})
    with pytest.raises(ValueError, match=r"base\.params"):
        Finals.from_json({**made.to_json(), "base": {**made.to_json()["base"], "params": "many"}})
    with pytest.raises(ValueError, match="ledger"):
        Finals.from_json({k: v for k, v in made.to_json().items() if k != "ledger"})


def test_worst_sameness_is_the_worst_of_each(made: Finals) -> None:
    pairs = {"a": Sameness(1e-6, 0.9), "b": Sameness(1e-3, 1.0)}
    assert replace(made.base, sameness=pairs).worst == Sameness(1e-3, 0.9)


def test_front_rows(made: Finals) -> None:
    rows = front_rows(made)
    assert rows.schema == FRONT_SCHEMA
    assert rows.num_rows == len(made.front)
    assert rows["params"].to_pylist() == sorted(m.params for m in made.front)
    assert sum(rows["chosen"].to_pylist()) == 1
    chosen = made.chosen_network
    assert chosen is not None
    assert made.share(chosen) == chosen.params / made.base.params
    assert front_rows(replace(made, front=(), chosen=None)).num_rows == 0
    missing = replace(made, front=(replace(chosen, latency=None, test_accuracy=math.nan),))
    assert front_rows(missing).to_pylist()[0]["latency_ms"] is None
    assert front_rows(missing).to_pylist()[0]["test_accuracy"] is None


def test_excess_counts_only_what_is_over() -> None:
    network = measured("x", 10_000, 0.9, 0.9)
    assert network.excess({"params": 10_000, "bytes": 10**9}) == {}
    assert network.excess({"params": 5_000}) == {"params": 2.0}


def _shown(table: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tables_show_numbers_and_defuse_data(made: Finals) -> None:
    evil = replace(made.front[0], candidate="[red]evil[/red]\x1b[2J")
    text = _shown(front_table(replace(made, front=(evil, *made.front[1:]))))
    assert "[red]evil[/red]" in text
    assert "\x1b[2J" not in text
    assert "1/21" in text
    verdicts = _shown(verdict_table(made))
    assert "LOST" in verdicts
    assert "beaten" in verdicts
    assert "not told apart" in verdicts


def test_tables_of_an_empty_run(made: Finals) -> None:
    empty = replace(made, front=(), chosen=None, controls=(), verdicts=(), chosen_test=())
    assert "base" in _shown(front_table(empty))
    assert _shown(verdict_table(empty))
