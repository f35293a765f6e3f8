"""Earlier runs teach the forecasts, and nothing else; runs whose measurements mean something else are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_surrogate_search import BASE, SPACE, answer, course, settings
from tiny_space import CRITERIA

from search.archive import Archive
from search.config import SearchConfig
from search.folder import RunFolder
from search.loading import ConfigError, parse_config
from search.plan import SearchPlan
from search.surrogate.guided import Guidance
from search.surrogate.predictor import FEWEST
from search.surrogate.surrogate import Lesson, Surrogate
from search.surrogate.warm import COPY, earlier_lessons, keep_earlier, read_earlier
from spaces.budget import Budget
from spaces.genome import Genome
from spaces.space import Space
from workers.evaluation import FAILED, PROBE, SCRATCH, TRAIN, Evaluation, Outcome, Request
from workers.tensors import save_tensors


def genome(index: int) -> Genome:
    return SPACE.sample(np.random.default_rng(index))


def lesson(index: int) -> Lesson:
    probe, train = (Request(2 * index + i, s, genome(index), "evolution") for i, s in enumerate((PROBE, TRAIN)))
    return answer(probe), answer(train)


def configuration(folder: Path, name: str = "first", **sections: Any) -> SearchConfig:
    content: dict[str, Any] = {"name": name, "out": str(folder), "data": {"source": "digits"}, **sections}
    content["space"] = {"criteria": list(CRITERIA), **content.get("space", {})}
    return parse_config(content)


def write_run(config: SearchConfig, evaluations: list[Evaluation]) -> RunFolder:
    run = RunFolder(config.folder)
    run.start(config, SPACE.hash, 8)
    archive = Archive(run.archive)
    archive.append([numbered(e, n) for n, e in enumerate(evaluations)])
    archive.close()
    return run


def numbered(e: Evaluation, number: int) -> Evaluation:
    return Evaluation(replace(e.request, number=number), replace(e.outcome, number=number))


def warm(folder: Path, *runs: RunFolder | Path, **sections: Any) -> SearchConfig:
    folders = [str(run.path if isinstance(run, RunFolder) else run) for run in runs]
    return configuration(folder, "second", surrogate={"warm_start": folders}, **sections)


def read(config: SearchConfig, space: Space = SPACE) -> list[Lesson]:
    """What a run of ``config`` learns from, as it starts."""
    run = RunFolder(config.folder)
    table = read_earlier(config, space, run)
    run.start(config, space.hash, 8)
    keep_earlier(table, run)
    return earlier_lessons(run)


def test_the_search_itself_teaches_and_controls_repeats_and_failures_do_not(tmp_path: Path) -> None:
    (probe, training), (other, failed), (unprobed, alone) = lesson(0), lesson(1), lesson(2)
    failed = Evaluation(failed.request, Outcome(0, FAILED, "nan"))
    others = [
        answer(Request(0, TRAIN, genome(0), "evolution", 1)),
        answer(Request(0, TRAIN, genome(0), "control:chosen")),
        answer(Request(0, SCRATCH, genome(0), "control:scratch")),
        answer(Request(0, PROBE, unprobed.request.genome, "control:random")),
    ]
    run = write_run(configuration(tmp_path), [*others, probe, other, failed, training, alone])
    ((found_probe, found_training),) = read(warm(tmp_path, run))
    assert numbered(found_probe, 0) == numbered(probe, 0)
    assert numbered(found_training, 0) == numbered(training, 0)


def test_an_evaluation_that_stands_in_two_runs_counts_once(tmp_path: Path) -> None:
    first = write_run(configuration(tmp_path), [*lesson(0), *lesson(1)])
    second = write_run(configuration(tmp_path, "other"), [*lesson(1), *lesson(2)])
    found = read(warm(tmp_path, first, second, first))
    assert [probe.request.genome for probe, _ in found] == [genome(0), genome(1), genome(2)]
    assert all(probe.request.genome == training.request.genome for probe, training in found)


def test_a_resumed_run_knows_the_same_though_the_earlier_one_has_gone(tmp_path: Path) -> None:
    run = write_run(configuration(tmp_path), [e for i in range(4) for e in lesson(i)])
    config = warm(tmp_path, run)
    before = read(config)
    shutil.rmtree(run.path)
    assert read(config) == before
    assert len(before) == 4


def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    run = write_run(configuration(tmp_path), [*lesson(0)])
    config = warm(tmp_path, run)
    read(config)
    (config.folder / COPY).write_bytes(b"PAR1 and no more")
    with pytest.raises(ConfigError, match=r"warm\.parquet: damaged .* restore it from a copy"):
        read(config)


def test_a_run_without_a_warm_start_has_no_copy(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert read(config) == []
    assert not (config.folder / COPY).exists()


def test_a_run_without_trainings_teaches_nothing(tmp_path: Path) -> None:
    run = write_run(configuration(tmp_path), [lesson(0)[0]])
    config = warm(tmp_path, run)
    assert read(config) == []
    assert (config.folder / COPY).exists(), "what the run does later is not for a resumed run"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"seed": 1}, r"seed 0 \(here 1\)"),
        ({"training": {"epochs": 7}}, r"training.epochs 30 \(here 7\)"),
        ({"base_training": {"shift": 2}}, r"base_training.shift 0 \(here 2\)"),
        ({"data": {"source": "digits", "limit": 100}}, r"data.limit None \(here 100\)"),
        ({"network": {"name": "resnet18"}}, r"network.name 'inception' \(here 'resnet18'\)"),
        ({"probe": {"images": 300}}, r"probe.images None \(here 300\)"),
        ({"space": {"blend_by": "group"}}, r"space.blend_by 'stage' \(here 'group'\)"),
        ({"space": {"growth": 2, "criteria": ["l1"]}}, r"space.criteria .* space.growth 1 \(here 2\)"),
        ({"space": {"round_to": 8}}, r"space.round_to 1 \(here 8\)"),
    ],
)
def test_other_measurements_are_refused(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    run = write_run(configuration(tmp_path), [*lesson(0)])
    with pytest.raises(ConfigError, match=rf"surrogate\.warm_start: .*first was made with .*{said}.*leave it out"):
        read(warm(tmp_path, run, **sections))
    assert not (tmp_path / "second").exists(), "refused before anything is written"


def test_budget_search_and_place_may_differ(tmp_path: Path) -> None:
    run = write_run(configuration(tmp_path), [*lesson(0)])
    differing: dict[str, Any] = {
        "budget": {"params": "1/3"},
        "search": {"probes": 99, "cost": "macs"},
        "limits": {"retries": 1},
        "cluster": {"workers": 7},
        "tracking": {"enabled": False},
        "data": {"source": "digits", "root": "elsewhere"},
        "space": {"min_keep": 0.01, "mutation": 0.3},
    }
    assert len(read(warm(tmp_path, run, **differing), replace(SPACE, budget=Budget(params=5)))) == 1


def no_run(folder: Path) -> Path:
    return folder / "nowhere"


def without_archive(folder: Path) -> Path:
    run = write_run(configuration(folder), [])
    shutil.rmtree(run.archive)
    return run.path


def of_another_version(folder: Path) -> Path:
    run = write_run(configuration(folder), [])
    run.config_file.write_text(run.config_file.read_text() + "colour: blue\n")
    return run.path


def damaged(folder: Path) -> Path:
    run = write_run(configuration(folder), [*lesson(0)])
    next(run.archive.glob("part-*")).write_bytes(b"PAR1")
    return run.path


def of_another_shape(folder: Path) -> Path:
    probe, training = lesson(0)
    short = replace(genome(0), keep=genome(0).keep[1:])
    requests = [replace(e.request, genome=short) for e in (probe, training)]
    evaluations = [Evaluation(r, e.outcome) for r, e in zip(requests, (probe, training), strict=True)]
    return write_run(configuration(folder), evaluations).path


def of_another_cost(folder: Path) -> Path:
    probe, training = lesson(0)
    metrics = {**training.metrics, "params": training.metrics["params"] + 1}
    return write_run(
        configuration(folder), [probe, Evaluation(training.request, replace(training.outcome, metrics=metrics))]
    ).path


def with_less_measured(folder: Path) -> Path:
    probe, training = lesson(1)
    metrics = {name: value for name, value in probe.metrics.items() if name != "refit_accuracy"}
    less = Evaluation(probe.request, replace(probe.outcome, metrics=metrics))
    return write_run(configuration(folder), [*lesson(0), less, training]).path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_run, "nowhere: no run there; give a folder"),
        (without_archive, "no archive there"),
        (of_another_version, "colour: no such setting"),
        (damaged, "damaged .* restore it from a copy"),
        (of_another_shape, "is another network here than there"),
        (of_another_cost, "is another network here than there"),
        (with_less_measured, "lacks 'refit'.*leave out the run"),
    ],
)
def test_unusable_folders_are_refused(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^surrogate\.warm_start: .*{said}"):
        read(warm(tmp_path, make(tmp_path)))


def test_base_weights_replaced_under_the_same_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    network: dict[str, Any] = {"network": {"weights": str(path)}}
    run = write_run(configuration(tmp_path, **network), [*lesson(0)])
    for file in (path, run.weights / "base.safetensors"):
        save_tensors(file, {"w": torch.ones(2)})
    config = warm(tmp_path, run, **network)
    assert read_earlier(config, SPACE, RunFolder(config.folder)) is not None
    save_tensors(path, {"w": torch.zeros(2)})
    with pytest.raises(ConfigError, match=r"surrogate\.warm_start: .* other base weights"):
        read(config)


@pytest.mark.parametrize("sections", [{"surrogate": {"enabled": False}}, {"search": {"strategy": "random"}}])
def test_a_warm_start_without_forecasts_is_refused(tmp_path: Path, sections: dict[str, Any]) -> None:
    surrogate = {"warm_start": ["runs/a"], **sections.pop("surrogate", {})}
    with pytest.raises(ConfigError, match=r"surrogate\.warm_start: there is no forecast"):
        configuration(tmp_path, surrogate=surrogate, **sections)


def taught(earlier: int) -> Surrogate:
    surrogate = Surrogate(SPACE, "params", BASE, 500, 0)
    surrogate.learn_from([lesson(i) for i in range(earlier)])
    return surrogate


def test_earlier_trainings_give_forecasts_but_are_neither_promoted_nor_on_the_front() -> None:
    surrogate = taught(12)
    assert surrogate.ready
    assert surrogate.promote(3) == []
    assert surrogate._front() == []
    own = [lesson(i) for i in range(20, 24)]
    for probe, _ in own:
        surrogate.tell(probe)
    promoted = surrogate.promote(99)
    assert {e.request.genome for e in promoted} == {probe.request.genome for probe, _ in own}
    assert all(forecast is not None for forecast in surrogate.will_train(promoted))
    assert surrogate.record.trainings == []
    surrogate.tell(own[0][1])
    assert len(surrogate._front()) == len(surrogate.record.trainings) == 1


def test_too_few_earlier_trainings_count_with_the_own_ones() -> None:
    surrogate = taught(FEWEST - 1)
    assert not surrogate.ready
    for evaluation in lesson(FEWEST - 1):
        surrogate.tell(evaluation)
    assert surrogate.ready


def test_a_candidate_that_is_trained_again_counts_once() -> None:
    surrogate = taught(FEWEST - 1)
    surrogate.learn_from([lesson(0)])
    for evaluation in lesson(1):
        surrogate.tell(evaluation)
    assert not surrogate.ready


def test_a_warm_search_proposes_by_forecast_from_its_first_probe_and_foretells_its_first_training() -> None:
    earlier = [lesson(i) for i in range(12)]
    plan = SearchPlan(SPACE, settings(4, 24), 1.0, 0, Guidance(1000, earlier=tuple(earlier)))
    evaluations = course(plan, 24)
    assert plan.surrogate is not None
    assert plan.surrogate.proposed > 0
    trainings = [e.request for e in evaluations if e.request.stage == TRAIN]
    assert len(trainings) == 4
    assert all(request.forecast is not None for request in trainings)
