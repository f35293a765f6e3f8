"""A finish from trained weights to better ones: exact, and never the same leg twice, whatever is cut off when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_bench import TRAINING, small_bench

import workers.shelved
from workers.checkpoint import load_candidate
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import FINISH, TRAIN, Outcome, Request
from workers.finish.candidate import finish_candidate, finishing_of, states_of
from workers.finish.leg import FAILED_SCORE, Finishing, Leg
from workers.finish.methods import Method, standing
from workers.finish.settings import ASHA, PBT, PLAIN, FinishSettings
from workers.finish.training import train_leg
from workers.jobs import RunSettings
from workers.measure.accuracy import measure_accuracy
from workers.shelf import FolderKeeper, Shelf
from workers.train import Diverged

FINISHING = FinishSettings(PBT, 3, 6, 2, {"learning_rate": (0.001, 0.03), "distillation": (0.0, 1.0)})


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Tune:
    """Stands in for Ray Tune: leg after leg in this process, in a random order, killed after ``most`` of them."""

    bench: Bench
    most: int = 10**9
    order: np.random.Generator = field(default_factory=np.random.default_rng)
    trained: list[str] = field(default_factory=list)

    def __call__(self, finishing: Finishing, method: Method, scores: dict[tuple[int, int], float]) -> tuple[str, str]:
        while legs := [leg for leg in standing(method, scores).following if isinstance(leg, Leg)]:
            if len(self.trained) == self.most:
                raise Killed
            leg = legs[int(self.order.integers(len(legs)))]
            scores[leg.member, leg.number] = train_leg(leg, finishing, self.bench).score
            self.trained.append(leg.name)
        return "", ""


@pytest.fixture(scope="module")
def trained_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = small_bench(tmp_path_factory.mktemp("run"))
    assert evaluate(request_of(bench, TRAIN), bench).status == "ok"
    return bench


@pytest.fixture
def bench(trained_bench: Bench, tmp_path: Path) -> Bench:
    """A run's folder of its own, with the candidate trained."""
    path = weights_path(tmp_path, request_of(trained_bench, TRAIN))
    path.parent.mkdir()
    path.write_bytes(weights_path(trained_bench.folder, request_of(trained_bench, TRAIN)).read_bytes())
    return replace(trained_bench, shelf=Shelf(tmp_path, tmp_path))


def request_of(bench: Bench, stage: str) -> Request:
    return Request(5, stage, bench.foundation.space.sample(np.random.default_rng(0)), "test")


def finish(bench: Bench, tune: Any, settings: FinishSettings = FINISHING) -> Outcome:
    run = RunSettings(
        bench.spec, bench.folder, bench.seed, (), (), TRAINING, bench.training, bench.probe, 0, 0, finish=settings
    )
    return finish_candidate(request_of(bench, FINISH), run, bench.foundation.space, tune)


def weights(bench: Bench) -> dict[str, torch.Tensor]:
    network, _ = load_candidate(weights_path(bench.folder, request_of(bench, FINISH)))
    return network.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("method", [PLAIN, PBT, ASHA])
def test_the_saved_network_is_the_one_that_was_measured(bench: Bench, method: str) -> None:
    outcome = finish(bench, Tune(bench), replace(FINISHING, method=method))
    assert (outcome.status, outcome.number) == ("ok", 5)
    network, about = load_candidate(weights_path(bench.folder, request_of(bench, FINISH)))
    assert about.genome == request_of(bench, FINISH).genome.text
    measured = measure_accuracy(network, bench.data.validation)
    assert measured.accuracy == outcome.metrics["accuracy"]
    assert outcome.metrics["same_reloaded"] == 0.0
    assert outcome.metrics["epochs"] == 6
    assert outcome.metrics["params"] == sum(p.numel() for p in network.parameters())
    training = weights_path(bench.folder, request_of(bench, TRAIN))
    assert not same(load_candidate(training)[0].state_dict(), network.state_dict())


def test_killed_after_any_leg_it_ends_as_the_undisturbed_one_and_repeats_none(
    bench: Bench,
) -> None:
    expected = finish(bench, Tune(bench))
    best = weights(bench)
    rng = np.random.default_rng()
    for path in (bench.folder / "finish").rglob("*.*"):
        path.unlink()
    trained: list[str] = []
    for most in (1, 0, 3, 10**9):
        tune = Tune(bench, most, rng)
        if most < 10**9:
            with pytest.raises(Killed):
                finish(bench, tune)
        else:
            outcome = finish(bench, tune)
        trained += tune.trained
    assert outcome.metrics == expected.metrics
    assert same(weights(bench), best)
    assert sorted(trained) == sorted({f"{n:03d}-{m:03d}" for n in range(3) for m in range(3)})
    again = Tune(bench, 0)
    assert finish(bench, again).metrics == expected.metrics
    assert again.trained == []


def test_a_leg_killed_in_its_middle_ends_as_the_undisturbed_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = finish(bench, Tune(bench))
    best = weights(bench)
    for path in (bench.folder / "finish").rglob("*.*"):
        path.unlink()
    real, left = workers.train._train_epoch, [7]

    def mortal(*arguments: Any) -> int:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(workers.training.progress, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(workers.train, "_train_epoch", mortal)
    with pytest.raises(Killed):
        finish(bench, Tune(bench))
    assert finish(bench, Tune(bench)).metrics == expected.metrics
    assert same(weights(bench), best)


def test_damaged_records_and_states_cost_a_leg_and_not_the_result(bench: Bench) -> None:
    expected = finish(bench, Tune(bench))
    folder = finishing_of(request_of(bench, FINISH), bench.folder).folder
    (folder / "002-001.json").write_text("{")
    (folder / "002-001.checkpoint").write_bytes(b"\0\0")
    tune = Tune(bench)
    assert finish(bench, tune).metrics == expected.metrics
    assert tune.trained == ["002-001"]


@dataclass
class Elsewhere(Tune):
    """Every leg on another machine, none of which sees the run's folder."""

    def __call__(self, finishing: Finishing, method: Method, scores: dict[tuple[int, int], float]) -> tuple[str, str]:
        driver = self.bench.folder
        while legs := [leg for leg in standing(method, scores).following if isinstance(leg, Leg)]:
            leg = legs[int(self.order.integers(len(legs)))]
            shelf = Shelf(driver.parent / f"machine-{leg.name}" / "run", driver, FolderKeeper(driver))
            there = replace(finishing, folder=shelf.here(finishing.folder))
            scores[leg.member, leg.number] = train_leg(leg, there, replace(self.bench, shelf=shelf)).score
        return "", ""


def test_legs_on_machines_without_a_disk_in_common_end_as_on_one(bench: Bench, tmp_path: Path) -> None:
    expected = finish(bench, Tune(bench))
    best = weights(bench)
    driver = tmp_path / "driver"
    path = weights_path(driver, request_of(bench, TRAIN))
    path.parent.mkdir(parents=True)
    path.write_bytes(weights_path(bench.folder, request_of(bench, TRAIN)).read_bytes())
    apart = replace(bench, shelf=Shelf(driver, driver))
    assert finish(apart, Elsewhere(apart)).metrics == expected.metrics
    assert same(weights(apart), best)


def test_states_are_forgotten_and_records_stay(bench: Bench) -> None:
    finish(bench, Tune(bench))
    best = weights(bench)
    finishing = finishing_of(request_of(bench, FINISH), bench.folder)
    for path in states_of(finishing):
        path.unlink()
    assert {p.suffix for p in finishing.folder.iterdir()} == {".json"}
    assert same(weights(bench), best)


def test_members_that_diverge_are_replaced_and_a_finish_of_which_all_do_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = workers.shelved.train

    def diverging(network: Any, data: Any, settings: Any, *rest: Any, until: int, **more: Any) -> None:
        if until == 2 and settings.learning_rate != bench.training.learning_rate:
            raise Diverged("the loss is not finite in epoch 1")
        real(network, data, settings, *rest, until=until, **more)

    monkeypatch.setattr(workers.shelved, "train", diverging)
    assert finish(bench, Tune(bench)).status == "ok"
    finishing = finishing_of(request_of(bench, FINISH), bench.folder)
    assert "nan" in (finishing.folder / "000-001.json").read_text()

    def always(*_: Any, **__: Any) -> None:
        raise Diverged("the loss is not finite in epoch 1")

    for path in finishing.folder.iterdir():
        path.unlink()
    monkeypatch.setattr(workers.shelved, "train", always)
    outcome = finish(bench, Tune(bench))
    assert (outcome.status, outcome.reason) == ("failed", "nan")
    assert "not finite" in outcome.message


def test_where_tune_leaves_legs_undone_the_finish_failed(bench: Bench) -> None:
    outcome = finish(bench, lambda *_: ("timeout", "too long"))
    assert (outcome.status, outcome.reason, outcome.message) == ("failed", "timeout", "too long")


def test_a_missing_training_is_a_failure_with_its_reason(bench: Bench) -> None:
    weights_path(bench.folder, request_of(bench, TRAIN)).unlink()
    outcome = finish(bench, Tune(bench))
    assert (outcome.status, outcome.reason) == ("failed", "error")
    assert "no such file" in outcome.message
    assert FAILED_SCORE < 0
