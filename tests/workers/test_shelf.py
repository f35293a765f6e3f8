"""A machine that does not see the run's folder computes what one that does would, and the driver gets every file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_bench import TRAINING, small_bench

import workers.shelf
from spaces.genome import Genome
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import INTERVAL, TRAIN, Request
from workers.member import member_path
from workers.shelf import FolderKeeper, Shelf, shelf_for
from workers.tensors import load_tensors


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "driver" / "run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"id": "abc"}))
    return folder


@pytest.fixture
def remote(run: Path, tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "worker" / "run", run, FolderKeeper(run))


def test_who_sees_the_folder_works_in_it(run: Path) -> None:
    keeper = FolderKeeper(run)
    assert shelf_for(run, "abc", keeper) == Shelf(run, run)
    assert shelf_for(run, "", None) == Shelf(run, run)


def test_who_does_not_see_it_has_a_folder_of_its_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    keeper = FolderKeeper(run)
    for folder, name in ((run.parent / "elsewhere", "abc"), (run, "another")):
        shelf = shelf_for(folder, name, keeper)
        assert shelf.keeper is keeper
        assert shelf.folder != folder
        assert shelf.there(shelf.here(folder / "weights" / "x")) == folder / "weights" / "x"
    assert (tmp_path / f"niwaki-{os.getuid()}").stat().st_mode & 0o077 == 0
    with pytest.raises(FileNotFoundError, match="does not see the run's folder"):
        shelf_for(run, "another", None)


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planted = tmp_path / f"niwaki-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert planted not in shelf_for(tmp_path / "none", "abc", FolderKeeper(tmp_path)).folder.parents


def test_files_travel_both_ways_and_leftovers_are_not_believed(run: Path, remote: Shelf) -> None:
    path = remote.folder / "weights" / "a.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"left by a process that was killed")
    remote.fetch(path)
    assert not path.exists()
    path.write_bytes(b"result")
    remote.hand_over(path)
    assert remote.there(path).read_bytes() == b"result"
    remote.there(path).write_bytes(b"another")
    remote.fetch(path)
    assert path.read_bytes() == b"another"
    remote.remove(path)
    assert not path.exists()
    assert not remote.there(path).exists()


def test_what_is_here_already_is_not_asked_for_again(run: Path, remote: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "weights").mkdir()
    (run / "weights" / "base.safetensors").write_bytes(b"base")
    path = remote.folder / "weights" / "base.safetensors"
    remote.fetch(path)
    monkeypatch.setattr(FolderKeeper, "read", lambda *_: pytest.fail("read again"))
    remote.fetch(path)
    assert path.read_bytes() == b"base"


def test_a_state_of_this_machine_stays(run: Path, remote: Shelf) -> None:
    """It is that of the same training, and the newer one."""
    state = remote.folder / "a.checkpoint"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"later")
    (run / "a.checkpoint").write_bytes(b"earlier")
    remote.fetch(state)
    assert state.read_bytes() == b"later"


@pytest.mark.parametrize("name", ["../outside", "/outside", "weights/../../outside"])
def test_nothing_outside_the_folder_is_handed_out(run: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a file of the run"):
        FolderKeeper(run).read(name)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return small_bench(tmp_path_factory.mktemp("run"), replace(TRAINING, epochs=3))


def genome_of(bench: Bench) -> Genome:
    space = bench.foundation.space
    return space.repair(space.uniform(0.5))


def requests(bench: Bench) -> list[Request]:
    """A training, a member, and a training that goes on from it."""
    genome = genome_of(bench)
    return [
        Request(0, TRAIN, genome, "test"),
        Request(1, INTERVAL, genome, "test"),
        Request(2, TRAIN, genome, "test", repeat=1, parent=genome.id),
    ]


def test_an_evaluation_without_the_folder_is_that_of_one_with_it(bench: Bench, run: Path, tmp_path: Path) -> None:
    """Each request on another machine, so that all that the third needs of the second has travelled."""
    here = replace(bench, shelf=Shelf(run, run))
    results = [evaluate(request, here) for request in requests(bench)]
    driver = tmp_path / "other" / "run"
    for i, request in enumerate(requests(bench)):
        shelf = Shelf(tmp_path / f"worker-{i}" / "run", driver, FolderKeeper(driver))
        outcome = evaluate(request, replace(bench, shelf=shelf))
        assert outcome.status == "ok", outcome.message
        assert outcome.metrics == results[i].metrics
    expected = {path.relative_to(run) for path in run.rglob("*.safetensors")}
    assert {path.relative_to(driver) for path in driver.rglob("*") if path.is_file()} == expected
    assert member_path(Path(), genome_of(bench).id) in expected
    for name in expected:
        ours, theirs = (load_tensors(folder / name)[0] for folder in (run, driver))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_training_goes_on_elsewhere_from_the_state_that_was_handed_over(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.shelf, "STATE_SECONDS", 0.0)
    driver = tmp_path / "driver" / "run"
    request = requests(bench)[0]
    first = Shelf(tmp_path / "first" / "run", driver, FolderKeeper(driver))
    epochs: list[int] = []
    real = Shelf.hand_over_at_times

    def dying(self: Shelf, path: Path) -> Callable[[int], None]:
        after_epoch = real(self, path)

        def then_die(epoch: int) -> None:
            after_epoch(epoch)
            epochs.append(epoch)
            if epoch == 2 and self is first:
                raise KeyboardInterrupt

        return then_die

    monkeypatch.setattr(Shelf, "hand_over_at_times", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate(request, replace(bench, shelf=first))
    assert (driver / "weights").exists()
    second = Shelf(tmp_path / "second" / "run", driver, FolderKeeper(driver))
    assert evaluate(request, replace(bench, shelf=second)).status == "ok"
    assert epochs.count(1) == 1, "the first epoch is in what was handed over"
    assert weights_path(driver, request).exists()
    assert not list(driver.rglob("*.checkpoint"))
