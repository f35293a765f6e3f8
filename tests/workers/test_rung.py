"""A training that pauses at rungs ends as one that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_bench import TRAINING, small_bench

from spaces.randomness import numpy_generator
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import OK, RUNG, TRAIN, Request
from workers.shelf import Shelf
from workers.tensors import load_tensors

EPOCHS = 4


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return small_bench(tmp_path, replace(TRAINING, epochs=EPOCHS, ema=0.9))


def run(bench: Bench, folder: Path, *stops: int | None) -> list[dict[str, float]]:
    """The metrics of trainings of one candidate until each of the stops (``None``: to the end), in a folder."""
    genome = bench.foundation.space.sample(numpy_generator(0, "rung"))
    found = []
    for number, stop in enumerate(stops):
        request = Request(number, TRAIN if stop is None else RUNG, genome, "test", epochs=stop)
        outcome = evaluate(request, replace(bench, shelf=Shelf(folder, folder)))
        assert outcome.status == OK, outcome.message
        found.append(dict(outcome.metrics))
    return found


def weights(bench: Bench, folder: Path) -> dict[str, torch.Tensor]:
    genome = bench.foundation.space.sample(numpy_generator(0, "rung"))
    return load_tensors(weights_path(folder, Request(0, TRAIN, genome, "")))[0]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_rungs_are_the_beginning_of_the_same_training(bench: Bench, tmp_path: Path) -> None:
    (whole,) = run(bench, tmp_path / "whole", None)
    *rungs, end = run(bench, tmp_path / "parts", 1, 3, None)
    assert [r["epochs"] for r in rungs] == [1, 3]
    assert end == whole
    assert same(weights(bench, tmp_path / "whole"), weights(bench, tmp_path / "parts"))
    assert not list((tmp_path / "parts").rglob("*.checkpoint"))


def test_a_checkpoint_that_is_gone_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    (before,) = run(bench, tmp_path / "parts", 2)
    (checkpoint,) = (tmp_path / "parts").rglob("*.checkpoint")
    checkpoint.unlink()
    assert run(bench, tmp_path / "parts", 2, None) == [before, *run(bench, tmp_path / "whole", None)]


def test_a_rung_is_not_measured_beyond_itself(bench: Bench, tmp_path: Path) -> None:
    first, _ = run(bench, tmp_path, 1, 3)
    assert run(bench, tmp_path, 1) == [first]
