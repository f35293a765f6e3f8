"""What a look at a run's folder finds, and what is said of it."""

from __future__ import annotations

import fcntl
import json
import math
from pathlib import Path

import pytest
from report_fixtures import archive, evaluations
from watched_runs import COURSE, EVIL, here, write_run

from search.choice import front
from search.folder import RunFolder
from search.report.progress import measure_progress
from search.standing import FAILED, FINISHED, LOST, PREPARING, SEARCHING, STOPPED, noted, read_standing
from search.view import Quiet
from search.watch.snapshot import look
from search.watch.words import rate, remarks, title, to_json
from workers.evaluation import PROBE, TRAIN


def test_a_running_run_is_counted_from_its_archive(tmp_path: Path) -> None:
    rows = evaluations()
    snapshot = look(write_run(tmp_path, SEARCHING, rows))
    assert snapshot.phase == SEARCHING
    assert not snapshot.ended
    by_name = {stage.name: stage for stage in snapshot.stages}
    assert by_name[PROBE].done == sum(e.request.stage == PROBE for e in rows)
    assert by_name[PROBE].expected == COURSE.counts[PROBE]
    assert snapshot.done == len(rows)
    assert snapshot.failed == sum(not e.ok for e in rows) == sum(f.count for f in snapshot.failures)
    assert snapshot.rate == pytest.approx(1.0, rel=0.05)
    assert sum(w.done for w in snapshot.workers) == len(rows)
    assert snapshot.spent.total == pytest.approx(61.0 + sum(e.outcome.seconds for e in rows))


def test_time_to_go_is_what_is_left_of_the_course(tmp_path: Path) -> None:
    rows = evaluations()
    snapshot = look(write_run(tmp_path, SEARCHING, rows))
    expected = 0.0
    for stage in (PROBE, TRAIN):
        own = [e for e in rows if e.request.stage == stage]
        each = sum(e.outcome.seconds for e in own) / len(own)
        expected += each * (COURSE.counts[stage] - len(own)) / COURSE.workers
    assert snapshot.left == pytest.approx(expected)


def test_the_front_is_that_of_the_search(tmp_path: Path) -> None:
    rows = evaluations()
    snapshot = look(write_run(tmp_path, SEARCHING, rows))
    assert [m.candidate for m in snapshot.front] == [e.request.genome.id for e in front(rows, "params")]
    best = snapshot.front[-1]
    assert best.share == best.cost / COURSE.base_cost
    assert best.to_base == pytest.approx(100 * (best.accuracy - COURSE.base_accuracy))


def test_hypervolume_is_the_same_while_it_runs_and_after(tmp_path: Path) -> None:
    running = look(write_run(tmp_path / "a", SEARCHING))
    finished = look(write_run(tmp_path / "b", FINISHED))
    assert finished.finals is not None
    expected = measure_progress(archive(evaluations()), finished.finals).final
    assert running.hypervolume == finished.hypervolume == expected > 0


def test_a_run_that_prepares_has_nothing_to_count(tmp_path: Path) -> None:
    snapshot = look(write_run(tmp_path, PREPARING, [], course=None))
    assert snapshot.done == 0
    assert snapshot.expected is None
    assert snapshot.progress is None
    assert title(snapshot) == "Preparing"
    assert json.loads(json.dumps(to_json(snapshot), allow_nan=False))["hypervolume"] is None


def test_json_holds_finite_numbers_and_plain_text(tmp_path: Path) -> None:
    answer = json.loads(json.dumps(to_json(look(write_run(tmp_path, SEARCHING))), allow_nan=False))
    assert answer["phase"] == "searching"
    assert answer["doing"] == f"looking at {EVIL}"
    assert len(answer["forecasts"]["record"]) == answer["forecasts"]["count"] - 5
    assert answer["device_seconds"]["total"] > 0


def test_a_driver_that_was_killed_is_told_from_one_that_runs(tmp_path: Path) -> None:
    path = write_run(tmp_path, SEARCHING, host=here())
    assert look(path).phase == LOST
    assert "niwaki resume" in " ".join(remarks(look(path)))
    with (path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert look(path).phase == SEARCHING
    assert look(path).phase == LOST


def test_in_a_copy_the_standing_is_taken_at_its_word(tmp_path: Path) -> None:
    assert look(write_run(tmp_path, SEARCHING, host="another-machine")).phase == SEARCHING


def test_a_run_without_a_standing_is_judged_by_its_folder(tmp_path: Path) -> None:
    for phase, expected in ((SEARCHING, LOST), (FINISHED, FINISHED)):
        path = write_run(tmp_path / phase, phase)
        (path / "standing.json").write_text("{torn")
        assert look(path).phase == expected


def test_the_driver_notes_how_it_ended(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path, SEARCHING))
    with noted(folder, Quiet()) as view:
        assert read_standing(folder).phase == PREPARING  # type: ignore[union-attr]
        view.searching(COURSE)
        standing = read_standing(folder)
        assert standing is not None
        assert (standing.phase, standing.course) == (SEARCHING, COURSE)
        view.warn("MLflow at postgresql://me:hunter2@db/x: down")
    standing = read_standing(folder)
    assert standing is not None
    assert standing.phase == FINISHED
    assert standing.warnings == ("MLflow at postgresql://…@db/x: down",)
    with pytest.raises(KeyboardInterrupt), noted(folder, Quiet()):
        raise KeyboardInterrupt
    assert read_standing(folder).phase == STOPPED  # type: ignore[union-attr]
    with pytest.raises(ZeroDivisionError), noted(folder, Quiet()):
        raise ZeroDivisionError("token=hunter2 is\nno number")
    standing = read_standing(folder)
    assert standing is not None
    assert (standing.phase, standing.error) == (FAILED, "ZeroDivisionError: token=… is no number")


def test_a_watcher_does_not_keep_a_driver_out(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path, SEARCHING, host=here()))
    with folder.locked():
        assert look(folder.path).phase == SEARCHING
    with folder.locked():
        assert look(folder.path).phase == SEARCHING


@pytest.mark.parametrize(("per_second", "text"), [(9.8, "9.8/s"), (0.5, "30/min"), (0.005, "18/h"), (math.nan, "–")])
def test_rates_are_said_in_the_unit_that_is_legible(per_second: float, text: str) -> None:
    assert rate(per_second) == text
