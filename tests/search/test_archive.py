"""What was committed is there afterwards, whatever happened to the driver; and it can be read meanwhile."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import search.archive
from search.archive import ROWS_PER_PART, Archive, ArchiveError, read_archive
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, Evaluation, Outcome, Request


def made(number: int) -> Evaluation:
    request = Request(number, PROBE, Genome((), 1.0, (number % 9999 / 9999,), ()), "test")
    if number % 5 == 4:
        return Evaluation(request, Outcome(number, FAILED, "oom", "simulated"))
    return Evaluation(request, Outcome(number, OK, metrics={"accuracy": 0.5, "params": number}, embedding=(0.1, 0.2)))


def fill(archive: Archive, until: int, batch: int = 7) -> None:
    for start in range(len(archive), until, batch):
        archive.append([made(n) for n in range(start, min(start + batch, until))])


def numbers(archive: Archive) -> list[int]:
    return [e.request.number for e in archive.evaluations()]


def test_the_folder_is_one_parquet_data_set(tmp_path: Path) -> None:
    """What Arrow, pandas and others read when they are given the folder, journal and all."""
    archive = Archive(tmp_path)
    archive.append([made(0)])
    archive.publish()
    assert pq.read_table(tmp_path).num_rows == 1


def journal(folder: Path) -> Path:
    (path,) = folder.glob("_journal-*")
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_appended_comes_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "run" / "archive")
    fill(archive, 20)
    assert list(archive.evaluations()) == [made(n) for n in range(20)]
    archive.close()
    again = Archive(archive.folder)
    assert list(again.evaluations()) == [made(n) for n in range(20)]
    fill(again, 30)
    assert again.table()["number"].to_pylist() == list(range(30))
    assert len(again) == 30


def test_reading_wakes_no_thread_that_could_outlive_a_short_process(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([made(0)])
    archive.close()
    script = f"""
        import os
        from pathlib import Path
        from search.archive import read_archive
        before = os.listdir("/proc/self/task")
        assert read_archive(Path({str(tmp_path)!r})).num_rows == 1
        assert os.listdir("/proc/self/task") == before
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_a_new_archive_is_empty(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert (len(archive), list(archive.evaluations()), archive.table().num_rows) == (0, [], 0)
    archive.close()
    assert numbers(Archive(tmp_path)) == []


def test_any_tear_of_the_last_write_costs_that_batch_alone(tmp_path: Path) -> None:
    """The journal is cut within its last batch; then the run goes on, and what it writes can be read."""
    fill(Archive(tmp_path / "whole"), 12, batch=4)
    content = journal(tmp_path / "whole").read_bytes()
    last = content[:-1].rindex(b"\n") + 1
    for cut in (*range(last, last + 12), *range(last + 12, len(content), 97), len(content) - 2, len(content) - 1):
        folder = tmp_path / "torn"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / journal(tmp_path / "whole").name).write_bytes(content[:cut])
        archive = Archive(folder)
        assert len(archive) == 8, cut
        archive.append([made(8)])
        assert numbers(Archive(folder)) == list(range(9)), cut


@pytest.mark.parametrize("tear", [b"\0" * 100, b"garbage\n", b"00000000 {}\n"])
def test_a_last_write_that_never_reached_the_disk_is_dropped(tmp_path: Path, tear: bytes) -> None:
    fill(Archive(tmp_path), 8)
    with journal(tmp_path).open("ab") as file:
        file.write(tear)
    archive = Archive(tmp_path)
    fill(archive, 16)
    assert numbers(Archive(tmp_path)) == list(range(16))


@pytest.mark.parametrize("damage", [b"x", b"\n", b"\0"])
def test_a_damaged_line_before_the_last_is_refused(tmp_path: Path, damage: bytes) -> None:
    fill(Archive(tmp_path), 12, batch=4)
    content = journal(tmp_path).read_bytes()
    middle = content.index(b"\n") + 40
    journal(tmp_path).write_bytes(content[:middle] + damage + content[middle + 1 :])
    with pytest.raises(ArchiveError, match=r"_journal-000000000\.jsonl: line 2 is damaged; restore the file"):
        Archive(tmp_path)
    assert journal(tmp_path).stat().st_size == len(content), "a refused file is left as it is"


def test_a_full_part_is_sealed(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    fill(archive, ROWS_PER_PART - 1, batch=341)
    assert files(tmp_path)[0] == "_journal-000000000.jsonl"
    archive.append([made(ROWS_PER_PART - 1)])
    assert files(tmp_path) == ["_journal-000001024.jsonl", "part-000000000.parquet"]
    fill(archive, 2 * ROWS_PER_PART + 100, batch=ROWS_PER_PART)
    archive.close()
    assert files(tmp_path) == [
        "_journal-000002048.jsonl",
        "part-000000000.parquet",
        "part-000001024.parquet",
        "part-000002048.parquet",
    ]
    reopened = Archive(tmp_path)
    assert numbers(reopened) == list(range(2 * ROWS_PER_PART + 100))
    assert read_archive(tmp_path)["number"].to_pylist() == list(range(2 * ROWS_PER_PART + 100))


def test_a_driver_that_dies_while_it_seals_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise InterruptedError

    for step in ("_write_part", "flush"):
        folder = tmp_path / step
        archive = Archive(folder)
        fill(archive, ROWS_PER_PART - 1, batch=341)
        with monkeypatch.context() as patch:
            patch.setattr(search.archive, step, die)
            with pytest.raises(InterruptedError):
                archive.append([made(ROWS_PER_PART - 1)])
        again = Archive(folder)
        assert numbers(again) == list(range(ROWS_PER_PART)), step
        fill(again, ROWS_PER_PART + 5)
        again.close()
        assert len(list(folder.glob("_journal-*"))) == 1
        assert read_archive(folder)["number"].to_pylist() == list(range(ROWS_PER_PART + 5))


def test_what_a_killed_driver_had_not_published_is_published_by_the_next(tmp_path: Path) -> None:
    fill(Archive(tmp_path), 10, batch=1)
    assert read_archive(tmp_path).num_rows < 10, "published about once a second"
    Archive(tmp_path).close()
    assert read_archive(tmp_path).num_rows == 10


def test_an_archive_of_parts_alone_goes_on(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    fill(archive, 10)
    archive.close()
    journal(tmp_path).unlink()
    again = Archive(tmp_path)
    fill(again, 20)
    again.close()
    assert numbers(Archive(tmp_path)) == list(range(20))


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    fill(archive, 2 * ROWS_PER_PART + 1, batch=ROWS_PER_PART)
    archive.close()
    (tmp_path / "part-000001024.parquet").unlink()
    with pytest.raises(ArchiveError, match="the rows from 1024 to 2047 are missing"):
        Archive(tmp_path)


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    fill(archive, ROWS_PER_PART, batch=ROWS_PER_PART)
    archive.close()
    part = tmp_path / "part-000000000.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    for read in (Archive, read_archive):
        with pytest.raises(ArchiveError, match=r"part-000000000\.parquet: damaged .* restore it from a copy"):
            read(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path)
    fill(archive, 5)
    archive.close()
    monkeypatch.setattr(search.archive, "SCHEMA_VERSION", 99)
    for read in (Archive, read_archive):
        with pytest.raises(ArchiveError, match="schema version 3, this Niwaki reads 99"):
            read(tmp_path)
    journal(tmp_path).unlink()
    with pytest.raises(ArchiveError, match="schema version 3, this Niwaki reads 99"):
        Archive(tmp_path)


def test_no_archive_is_an_error_for_a_reader(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is this the folder of a run"):
        read_archive(tmp_path / "nowhere")


def test_not_a_number_and_odd_text_survive(tmp_path: Path) -> None:
    odd = Outcome(0, FAILED, "error", "naïve\n\udc80 “x”", metrics={"accuracy": math.nan, "loss": math.inf})
    archive = Archive(tmp_path)
    archive.append([Evaluation(made(0).request, odd)])
    archive.close()
    (outcome,) = (e.outcome for e in Archive(tmp_path).evaluations())
    assert math.isnan(outcome.metrics["accuracy"])
    assert outcome.metrics["loss"] == math.inf
    assert outcome.message == "naïve\n? “x”"
    assert read_archive(tmp_path)["message"].to_pylist() == [outcome.message]


def test_readers_see_whole_prefixes_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.archive, "PUBLISH_SECONDS", 0.0)
    monkeypatch.setattr(search.archive, "ROWS_PER_PART", 50)
    archive = Archive(tmp_path)
    writer = threading.Thread(target=fill, args=(archive, 300, 3))
    writer.start()
    seen = [0]
    while writer.is_alive():
        found = read_archive(tmp_path)["number"].to_pylist()
        assert found == list(range(len(found)))
        assert len(found) >= seen[-1]
        seen.append(len(found))
    writer.join()
    assert len(set(seen)) > 3, "the reader saw it grow"
    assert read_archive(tmp_path).num_rows == 300


@pytest.mark.parametrize("after", [40, pytest.param(2 * ROWS_PER_PART, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_that_was_committed(tmp_path: Path, after: int) -> None:
    """A real process is killed while it writes; it says what it committed only once ``append`` has returned."""
    script = """
        import itertools, sys
        from pathlib import Path
        from test_archive import made
        from search.archive import Archive
        archive = Archive(Path(sys.argv[1]))
        for start in itertools.count(len(archive), 20):
            archive.append([made(n) for n in range(start, start + 20)])
            print(start + 20, flush=True)
    """
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert process.stdout is not None
        first = int(process.stdout.readline())
        while int(process.stdout.readline()) < first + after:
            pass
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().splitlines() if line]
        process.wait()
        archive = Archive(tmp_path)
        assert len(archive) >= max(said, default=first + after)
        assert list(archive.evaluations()) == [made(n) for n in range(len(archive))]
        archive.close()
    assert pq.read_table(tmp_path / "part-000000000.parquet").num_rows > 0
