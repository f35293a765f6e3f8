"""An evaluation always comes back as an outcome: measured, or failed with its reason."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_bench import TRAINING, small_bench

import workers.shelved
from spaces.budget import Budget
from spaces.quantity import Measure
from workers.batches import place
from workers.checkpoint import load_candidate
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import PROBE, RECIPES, SCRATCH, TRAIN, Request
from workers.measure.accuracy import measure_accuracy
from workers.shelf import STATE, Shelf


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return small_bench(tmp_path_factory.mktemp("run"))


def request_of(bench: Bench, stage: str, seed: int = 0, repeat: int = 0) -> Request:
    genome = bench.foundation.space.sample(np.random.default_rng(seed))
    return Request(11, stage, genome, "test", repeat)


@pytest.mark.parametrize("stage", [PROBE, TRAIN, SCRATCH])
def test_what_is_known_of_a_candidate_is_reported(bench: Bench, stage: str) -> None:
    space = replace(bench.foundation.space, budget=Budget(params=100))
    over = replace(bench, foundation=replace(bench.foundation, space=space))
    request = request_of(bench, stage)
    outcome = evaluate(request, over)
    assert (outcome.number, outcome.status, outcome.reason) == (11, "ok", "")
    cost = space.cost(request.genome)
    assert outcome.metrics["params"] == cost.params
    assert (outcome.metrics["macs"], outcome.metrics["bytes"]) == (cost.macs, cost.bytes)
    assert outcome.metrics["violation"] == pytest.approx(cost.params / 100 - 1)
    assert outcome.metrics["epochs"] == {PROBE: 0, TRAIN: 2, SCRATCH: 4}[stage]
    assert outcome.seconds > 0
    assert bool(outcome.embedding) == (stage == PROBE)


@pytest.mark.parametrize("stage", RECIPES)
@pytest.mark.parametrize("cost", ["params", "macs"])
def test_a_recipe_ends_within_the_size_of_the_candidate(bench: Bench, stage: str, cost: Measure) -> None:
    bench = replace(bench, cost=cost)
    request = request_of(bench, stage, seed=2, repeat=1)
    outcome = evaluate(request, bench)
    assert (outcome.status, outcome.message) == ("ok", "")
    assert outcome.metrics[cost] <= getattr(bench.foundation.space.cost(request.genome), cost)
    assert outcome.metrics["epochs"] == TRAINING.epochs
    network, _ = load_candidate(weights_path(bench.folder, request))
    assert sum(p.numel() for p in network.parameters()) == outcome.metrics["params"]
    assert outcome.metrics["same_reloaded"] < 1e-4
    measured = measure_accuracy(place(network, bench.data.train), bench.data.validation)
    assert measured.accuracy == pytest.approx(outcome.metrics["accuracy"])
    assert not list((bench.folder / "weights").glob(f"{weights_path(bench.folder, request).stem}*{STATE}"))


@pytest.mark.parametrize("stage", RECIPES)
def test_a_recipe_leaves_the_base_network_as_it_is_and_repeats_exactly(bench: Bench, stage: str) -> None:
    request = request_of(bench, stage, seed=3)
    before = copy.deepcopy(bench.foundation.trunk(request.genome).network.state_dict())
    first, second = evaluate(request, bench), evaluate(request, bench)
    assert first.metrics == second.metrics
    after = bench.foundation.trunk(request.genome).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    other = evaluate(replace(request, repeat=1), bench)
    assert other.metrics["loss"] != first.metrics["loss"]


@pytest.mark.parametrize("stage", [TRAIN, SCRATCH])
def test_a_saved_candidate_is_the_one_that_was_measured(bench: Bench, stage: str) -> None:
    request = request_of(bench, stage, seed=1, repeat=2)
    outcome = evaluate(request, bench)
    path = weights_path(bench.folder, request)
    network, about = load_candidate(path)
    assert about.genome == request.genome.text
    assert about.class_names == ("dark", "grey", "light")
    measured = measure_accuracy(place(network, bench.data.train), bench.data.validation)
    assert measured.accuracy == outcome.metrics["accuracy"]
    assert measured.loss == outcome.metrics["loss"]
    assert outcome.metrics["same_reloaded"] == 0.0
    assert not path.with_suffix(".checkpoint").exists()


def test_a_training_is_the_same_again_and_another_when_repeated(bench: Bench, tmp_path: Path) -> None:
    first = evaluate(request_of(bench, TRAIN, 2), bench)
    elsewhere = replace(bench, shelf=Shelf(tmp_path, tmp_path), _soft_labels={})
    assert evaluate(request_of(bench, TRAIN, 2), elsewhere).metrics == first.metrics
    assert evaluate(request_of(bench, TRAIN, 2, repeat=1), bench).metrics["loss"] != first.metrics["loss"]


@pytest.mark.parametrize("stage", [TRAIN, *RECIPES])
def test_a_training_cut_off_by_its_worker_ends_as_the_undisturbed_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    undisturbed = evaluate(request_of(bench, stage, 3), bench)
    elsewhere = replace(bench, shelf=Shelf(tmp_path, tmp_path), _soft_labels={})
    train = workers.shelved.train

    def cut_off(*args: Any, **kwargs: Any) -> None:
        def stop(_: int) -> None:
            raise KeyboardInterrupt

        train(*args, **{**kwargs, "after_epoch": stop})

    monkeypatch.setattr(workers.shelved, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        evaluate(request_of(bench, stage, 3), elsewhere)
    monkeypatch.undo()
    assert list((tmp_path / "weights").glob("*.checkpoint"))
    assert evaluate(request_of(bench, stage, 3), elsewhere).metrics == undisturbed.metrics
    assert not list((tmp_path / "weights").glob("*.checkpoint"))


def test_a_training_that_diverges_is_a_failed_outcome(bench: Bench) -> None:
    wild = replace(bench, training=replace(TRAINING, learning_rate=math.inf))
    outcome = evaluate(request_of(bench, TRAIN, 4), wild)
    assert (outcome.status, outcome.reason) == ("failed", "nan")
    assert "not finite" in outcome.message
    assert not outcome.metrics
    assert not outcome.embedding


def test_a_training_that_learns_nothing_is_a_failed_outcome(bench: Bench) -> None:
    blind = replace(bench.data.train, images=torch.zeros_like(bench.data.train.images))
    training = replace(TRAINING, epochs=4, give_up=0.5, shift=0)
    outcome = evaluate(
        request_of(bench, TRAIN, 7), replace(bench, training=training, data=replace(bench.data, train=blind))
    )
    assert (outcome.status, outcome.reason) == ("failed", "hopeless")
    assert outcome.message.startswith("no better than guessing in epoch 2 of 4")


def test_a_probe_of_a_broken_network_is_a_failed_outcome(bench: Bench) -> None:
    request = request_of(bench, PROBE, 5)
    trunks = dict(bench.foundation.trunks)
    broken = copy.deepcopy(bench.foundation.trunk(request.genome).network)
    with torch.no_grad():
        broken.classifier.bias.fill_(math.nan)
    trunks[request.genome.growth] = replace(bench.foundation.trunk(request.genome), network=broken)
    outcome = evaluate(request, replace(bench, foundation=replace(bench.foundation, trunks=trunks)))
    assert (outcome.status, outcome.reason) == ("failed", "nan")
    assert "loss" in outcome.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("none left"), "oom"),
        (torch.cuda.OutOfMemoryError("none left there"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "oom"),
        (RuntimeError("std::bad_alloc"), "oom"),
        (RuntimeError("shapes\n do   not fit"), "error"),
        (KeyError("stage"), "error"),
    ],
)
def test_an_exception_is_a_failed_outcome_with_its_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(workers.evaluate, "probe", fail)
    outcome = evaluate(request_of(bench, PROBE), bench)
    assert (outcome.number, outcome.status, outcome.reason) == (11, "failed", reason)
    assert outcome.message.startswith(type(error).__name__)
    assert "\n" not in outcome.message
    assert outcome.seconds > 0


def test_memory_beyond_the_limit_is_a_failed_outcome(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> None:
        torch.ones(400 * 2**18)

    monkeypatch.setattr(workers.evaluate, "probe", greedy)
    outcome = evaluate(request_of(bench, PROBE), replace(bench, memory_mb=100))
    assert (outcome.status, outcome.reason) == ("failed", "oom")
    monkeypatch.undo()
    assert evaluate(request_of(bench, PROBE), bench).status == "ok"


def test_a_network_that_is_not_what_its_genome_promised_is_a_failed_outcome(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(bench, PROBE, 6)
    whole = bench.foundation.space.uniform(1.0)
    candidate = bench.foundation.build(whole)
    monkeypatch.setattr(type(bench.foundation), "build", lambda *_: candidate)
    outcome = evaluate(request, bench)
    assert (outcome.status, outcome.reason) == ("failed", "error")
    assert outcome.message.startswith("BudgetMissed")
