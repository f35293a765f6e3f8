"""Storage shows at every moment a run that can be gone on with, and never delays the one that it is a copy of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from published_runs import Heard, commit, config_in, driving, evaluation, stored

import search.lease
import search.mirror
from search.archive import Archive, read_archive
from search.config import SearchConfig
from search.fetching import KEPT, agree, bring_run
from search.folder import RunFolder
from search.lease import Lease, Superseded
from search.loading import ConfigError
from search.schema import evaluations_of
from search.storage import Place, StorageError
from workers.evaluate import weights_path
from workers.member import member_path
from workers.tensors import CheckpointError


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.mirror, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr(search.mirror, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(search.mirror, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(search.mirror, "END_SECONDS", 1.0)
    monkeypatch.setattr(search.lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(search.lease, "PATIENCE_SECONDS", 3.0)


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def say_nothing(_: str) -> None: ...


def rows_in(config: SearchConfig) -> int:
    """Rows that storage shows."""
    archive = Path(config.out).parent / "store" / config.name / "archive"
    return read_archive(archive).num_rows if archive.is_dir() else 0


def test_a_finished_run_is_in_storage_whole_and_comes_down_as_it_was(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with driving(config) as (folder, archive, _):
        commit(archive, folder, 1100)  # a sealed part, and a journal
        (folder.path / ".hidden").touch()
        (folder.path / "report").mkdir()
        (folder.path / "report" / "measurements.json").write_text("{}")
    names = stored(config).names()
    assert {"config.yaml", "run.json", "report/measurements.json", "archive/part-000001024.parquet"} <= names.keys()
    assert not any("journal" in name or name.startswith(".") for name in names)
    path = bring_run(f"{config.storage}/small", tmp_path / "there", say_nothing)
    there = RunFolder(path)
    assert there.load_config() == config.model_copy(update={"out": tmp_path / "there"})
    assert there.load_record() == folder.load_record()
    again = Archive(there.archive)
    assert list(again.evaluations()) == [evaluation(n) for n in range(1100)]
    for n in range(3, 1100, 4):
        name = weights_path(Path(), evaluation(n).request)
        assert (there.path / name).read_bytes() == (folder.path / name).read_bytes()


def test_rows_are_published_though_nothing_is_committed_after_them(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with driving(config) as (folder, archive, _):
        commit(archive, folder, 3)
        until(lambda: rows_in(config) == 3)
        commit(archive, folder, 5)
        until(lambda: rows_in(config) == 5)


def test_no_row_is_shown_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has been sent when the machine goes, what is in storage by then agrees with itself."""
    config = config_in(tmp_path)
    real = Place.write
    seen = []

    def watched(self: Place, name: str, content: bytes) -> None:
        real(self, name, content)
        store = tmp_path / "store" / "small"
        if name.startswith("archive/"):
            rows = list(evaluations_of(read_archive(store / "archive")))
            trained = [e.request for e in rows if e.request.stage in KEPT]
            seen.append(all(weights_path(store, request).exists() for request in trained))

    monkeypatch.setattr(Place, "write", watched)
    with driving(config) as (folder, archive, _):
        for end in range(20, 420, 20):
            commit(archive, folder, end)
            time.sleep(0.01)
    assert len(seen) > 1
    assert all(seen)


def test_a_member_stays_in_storage_until_the_row_that_retires_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_in(tmp_path)
    real, order = (Place.write, Place.remove), []

    def write(self: Place, name: str, content: bytes) -> None:
        real[0](self, name, content)
        order.append((name, rows_in(config) if name.startswith("archive/") else None))

    def remove(self: Place, name: str) -> None:
        order.append((f"-{name}", None))
        real[1](self, name)

    with driving(config) as (folder, archive, mirror):
        member = member_path(folder.path, "abc")
        member.parent.mkdir(parents=True)
        member.write_bytes(b"weights")
        name = "weights/members/abc.safetensors"
        until(lambda: name in stored(config).names())
        monkeypatch.setattr(Place, "write", write)
        monkeypatch.setattr(Place, "remove", remove)
        commit(archive, folder, 2)
        mirror.remove([member])
        until(lambda: (f"-{name}", None) in order)
        until(lambda: not member.exists())
    gone = order.index((f"-{name}", None))
    assert max(rows or 0 for _, rows in order[:gone]) == 2


def test_states_of_trainings_go_when_the_training_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_in(tmp_path)
    name = "weights/abc.checkpoint"
    with driving(config) as (folder, archive, _):
        state = folder.path / name
        state.parent.mkdir()
        state.write_bytes(b"1")
        commit(archive, folder, 1)
        until(lambda: rows_in(config) == 1)
        assert name not in stored(config).names(), "a short training would be sent for nothing"
        monkeypatch.setattr(search.mirror, "CHECKPOINT_SECONDS", 0.0)
        until(lambda: name in stored(config).names())
        state.unlink()
        until(lambda: name not in stored(config).names())


def note_sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is written to storage from now on, in order."""
    sent: list[str] = []
    real = Place.write

    def write(self: Place, name: str, content: bytes) -> None:
        sent.append(name)
        real(self, name, content)

    monkeypatch.setattr(Place, "write", write)
    return sent


def test_a_legs_state_is_there_before_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = note_sent(monkeypatch)
    with driving(config_in(tmp_path)) as (folder, _, _mirror):
        legs = folder.path / "finish" / "abc"
        legs.mkdir(parents=True)
        (legs / "000-000.checkpoint").write_bytes(b"state")
        (legs / "000-000.json").write_text("{}")
        until(lambda: "finish/abc/000-000.json" in sent)
    assert sent.index("finish/abc/000-000.checkpoint") < sent.index("finish/abc/000-000.json")


def test_a_storage_that_is_down_delays_nothing_and_is_caught_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, view = config_in(tmp_path), Heard()
    real, down = Place.write, threading.Event()

    def write(self: Place, name: str, content: bytes) -> None:
        if down.is_set():
            raise StorageError("storage: does not answer")
        real(self, name, content)

    monkeypatch.setattr(Place, "write", write)
    with driving(config, view) as (folder, archive, _):
        commit(archive, folder, 4)
        until(lambda: rows_in(config) == 4)
        down.set()
        commit(archive, folder, 40)
        until(lambda: bool(view.warnings))
        time.sleep(0.2)
        assert view.warnings == [
            "storage: does not answer. The search goes on; what is new is published when storage answers"
        ]
        assert rows_in(config) == 4
        down.clear()
    assert rows_in(config) == 40
    assert "answers again" in view.warnings[1]


def test_what_could_not_be_published_in_the_end_is_an_error_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Place, name: str, content: bytes) -> None:
        if name != search.lease.FILE:
            raise StorageError("storage: no space")

    monkeypatch.setattr(Place, "write", write)
    said = r"no space.* is finished and whole in .*here/small.*`niwaki resume .*small`"
    with pytest.raises(StorageError, match=said), driving(config_in(tmp_path)):
        pass


def test_a_storage_that_hangs_does_not_keep_a_stopped_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    real = Place.write

    def write(self: Place, name: str, content: bytes) -> None:
        if name != search.lease.FILE:
            held.wait(60)
        real(self, name, content)

    def stopped() -> None:
        with driving(config_in(tmp_path), view) as (folder, archive, _):
            commit(archive, folder, 4)
            raise KeyboardInterrupt

    monkeypatch.setattr(Place, "write", write)
    view = Heard()
    with pytest.raises(KeyboardInterrupt):
        stopped()
    held.set()
    assert "not published" in view.warnings[-1]


def test_a_run_is_gone_on_with_on_another_machine_and_not_on_the_first(tmp_path: Path) -> None:
    first = config_in(tmp_path)
    with driving(first) as (folder, archive, _):
        commit(archive, folder, 10)
    second = config_in(tmp_path, "there")
    agree(stored(second), second, say_nothing)
    with driving(second) as (folder, archive, _):
        assert list(archive.evaluations()) == [evaluation(n) for n in range(10)]
        commit(archive, folder, 15)
    agree(stored(second), second, say_nothing)
    with pytest.raises(ConfigError, match=r"went on elsewhere.*niwaki resume file://"):
        agree(stored(first), first, say_nothing)
    third = config_in(tmp_path, "third")
    agree(stored(third), third, say_nothing)
    assert list(Archive(RunFolder(third.folder).archive).evaluations()) == [evaluation(n) for n in range(15)]


def test_another_run_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    with driving(config_in(tmp_path)):
        pass
    other = config_in(tmp_path, "there")
    RunFolder(other.folder).start(other, "space", 4)
    with pytest.raises(ConfigError, match="another run lies at"):
        agree(stored(other), other, say_nothing)


def test_a_second_driver_stays_away_while_the_first_is_at_work(tmp_path: Path) -> None:
    first, second = config_in(tmp_path), config_in(tmp_path, "there")
    with driving(first):
        until(lambda: "run.json" in stored(first).names())
        with pytest.raises(ConfigError, match=r"a driver on .* runs this search"):
            agree(stored(second), second, say_nothing)
    agree(stored(second), second, say_nothing)


def test_a_driver_that_was_killed_is_taken_for_dead_after_a_while(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with driving(config) as (_, _archive, _mirror):
        pass
    Lease(stored(config))._write(7)  # renewed once, and never again
    said: list[str] = []
    started = time.monotonic()
    assert search.lease.wait_until_free(stored(config), said.append) is not None
    assert time.monotonic() - started >= search.lease.PATIENCE_SECONDS
    assert "did not say that it ended" in said[0]


def test_a_driver_whose_run_was_taken_over_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_in(tmp_path)
    monkeypatch.setattr(search.lease, "BEAT_SECONDS", 60.0)  # or a renewal under way could write over the other's name

    def drive() -> None:
        with driving(config) as (folder, archive, mirror):
            commit(archive, folder, 2)
            until(lambda: rows_in(config) == 2)
            Lease(stored(config))._write(0)
            commit(archive, folder, 4)
            until(lambda: mirror._lost is not None)
            mirror.check()

    with pytest.raises(Superseded, match="taken this run over"):
        drive()
    assert rows_in(config) == 2


@pytest.mark.parametrize(
    ("name", "damage", "error"),
    [
        ("archive/part-000000000.parquet", "cut", Exception),
        ("weights", "gone", CheckpointError),
        ("weights", "cut", CheckpointError),
        ("run.json", "cut", ConfigError),
        ("config.yaml", "gone", ConfigError),
    ],
)
def test_a_damaged_run_is_not_brought_down(tmp_path: Path, name: str, damage: str, error: type[Exception]) -> None:
    config = config_in(tmp_path)
    with driving(config) as (folder, archive, _):
        commit(archive, folder, 8)
    store = tmp_path / "store" / "small"
    path = weights_path(store, evaluation(3).request) if name == "weights" else store / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(error) as caught:
        bring_run(f"{config.storage}/small", tmp_path / "there", say_nothing)
    assert path.name in str(caught.value)
    assert "/there/." not in str(caught.value), "a folder that is gone by then helps nobody"
    assert list((tmp_path / "there").iterdir()) == []


def test_nothing_to_bring_down_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run there"):
        bring_run((tmp_path / "store" / "small").as_uri(), tmp_path / "there", say_nothing)
    with pytest.raises(ConfigError, match="no name of a run"):
        bring_run("file:///store/..", tmp_path / "there", say_nothing)


def test_a_run_that_lies_here_is_not_brought_down_over(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with driving(config):
        pass
    with pytest.raises(ConfigError, match="lies there already"):
        bring_run(f"{config.storage}/small", config.out, say_nothing)


def test_a_resumed_run_sends_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_in(tmp_path)
    with driving(config) as (folder, archive, _):
        commit(archive, folder, 8)
    sent = note_sent(monkeypatch)
    with driving(config) as (folder, archive, _):
        commit(archive, folder, 9)
    assert set(sent) == {search.lease.FILE, "archive/part-000000000.parquet"}
