"""What Prometheus is told of a search: the values that its archive would give."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.front import REFERENCE
from search.metrics import Metrics, metered
from search.report.progress import replay
from search.schema import SCHEMA, to_row
from search.tally import METERS, Tally
from search.view import Course, Quiet
from spaces.genome import Genome
from workers.cluster import ClusterSettings
from workers.evaluation import FAILED, FINISH, OK, PROBE, REASONS, SCRATCH, TRAIN, Evaluation, Outcome, Request
from workers.meters import COUNTER, RayMeters

COURSE = Course({PROBE: 10, TRAIN: 2}, {PROBE: 1.0, TRAIN: 30.0}, 2, "params", 1000, 0.9)


class Told:
    """Stands for Ray: remembers the last value of every gauge, and the sum of every counter."""

    def __init__(self) -> None:
        self.values: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
        self.again = threading.Event()

    def add(self, name: str, amount: float, labels: Mapping[str, str]) -> None:
        self.values[name, frozenset(labels.items())] += amount

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self.values[name, frozenset(labels.items())] = value
        self.again.set()

    def of(self, name: str, **labels: str) -> float | None:
        return self.values.get((f"niwaki_{name}", frozenset(labels.items())))


class Workers:
    def states(self) -> dict[str, int]:
        return {"busy": 2, "idle": 1, "starting": 0}


def metrics() -> tuple[Metrics, Told]:
    told = Told()
    return Metrics(Quiet(), told, Workers()), told


def made(
    number: int,
    stage: str = PROBE,
    accuracy: float = 0.5,
    reason: str = "",
    origin: str = "evolution",
    violation: float = 0.0,
) -> Evaluation:
    request = Request(number, stage, Genome((), 1.0, (number / 100,), ()), origin)
    figures = {} if reason else {"accuracy": accuracy, "params": 150.0 * number + 100.0, "violation": violation}
    return Evaluation(request, Outcome(number, FAILED if reason else OK, reason, "text", figures, seconds=2.0))


def test_evaluations_are_counted_by_stage_outcome_and_reason() -> None:
    watched, told = metrics()
    watched.searching(COURSE)
    watched.replayed(made(0))
    for evaluation in (made(1), made(2, reason="oom"), made(3, reason="oom"), made(4, TRAIN, 0.8)):
        watched.committed(evaluation, 7)
    watched.searched()
    assert told.of("evaluations", stage=PROBE, outcome=OK, reason="") == 1, "another driver counted the replayed one"
    assert told.of("evaluations", stage=PROBE, outcome=FAILED, reason="oom") == 2
    assert told.of("device_seconds", stage=PROBE, outcome=FAILED, reason="oom") == 4.0
    assert told.of("archived_evaluations", stage=PROBE, outcome=OK) == 2
    assert told.of("archived_evaluations", stage=TRAIN, outcome=OK) == 1
    assert told.of("expected_evaluations", stage=TRAIN) == 2
    assert told.of("under_way_evaluations") == 7
    assert told.of("workers", state="busy") == 2
    assert told.of("best_accuracy_ratio") == 0.8


def test_what_is_told_twice_is_counted_once() -> None:
    watched, told = metrics()
    watched._tally = Tally(COURSE)
    watched.committed(made(0), 1)
    watched.tell()
    watched.tell()
    watched.committed(made(1), 1)
    watched.tell()
    assert told.of("evaluations", stage=PROBE, outcome=OK, reason="") == 2


def test_before_anything_is_trained_no_front_is_told_of() -> None:
    tally = Tally(COURSE)
    tally.hear(made(0), 1)
    tally.hear(made(1, TRAIN, 0.99, violation=0.5), 1)
    tally.hear(made(2, SCRATCH, 0.99, origin="control:scratch"), 1)
    assert {"niwaki_best_accuracy_ratio", "niwaki_hypervolume"}.isdisjoint(s.meter.name for s in tally.samples())


trainings = st.builds(
    made,
    st.integers(0, 9),
    st.sampled_from([PROBE, TRAIN, FINISH, SCRATCH]),
    st.floats(0, 1),
    st.sampled_from(["", "", "", *REASONS]),
    st.sampled_from(["evolution", "control:random"]),
    st.sampled_from([0.0, 0.0, 0.1]),
)


@given(st.lists(trainings, max_size=12), st.integers(1, 4))
def test_the_hypervolume_is_that_of_the_archive(evaluations: list[Evaluation], every: int) -> None:
    """However often it is asked for on the way: what is kept between times must be enough."""
    tally = Tally(COURSE)
    rows = []
    for number, e in enumerate(evaluations):
        tally.hear(e, 0)
        rows.append({**to_row(e, 0.0), "number": number})
        if number % every == 0:
            tally.samples()
    last = {sample.meter.name: sample.value for sample in tally.samples()}
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    expected = replay(table, "params", 1000.0, (REFERENCE, REFERENCE)).final
    assert last.get("niwaki_hypervolume", 0.0) == pytest.approx(expected)


def test_figures_are_told_while_nothing_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.metrics.TELL_SECONDS", 0.01)
    watched, told = metrics()
    watched.searching(COURSE)
    for _ in range(3):
        told.again.clear()
        assert told.again.wait(30)
    watched.close()
    watched.close()
    told.again.clear()
    assert not told.again.wait(0.1), "nothing is told after the end"


def test_a_search_on_its_own_machine_is_not_told() -> None:
    view: Any = Quiet()
    cluster: Any = SimpleNamespace(settings=ClusterSettings())
    with metered(view, cluster, "name", "id") as watched:
        assert watched is view


def test_a_password_in_a_name_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setattr("search.metrics.RayMeters", lambda meters, labels: seen.update(labels))
    cluster: Any = SimpleNamespace(settings=ClusterSettings(address="auto"))
    with metered(Quiet(), cluster, "of http://me:secret@host", "id"):
        pass
    assert seen == {"run": "of http://…@host", "run_id": "id"}


def test_ray_takes_every_meter() -> None:
    """Names and labels by Ray's own rules; nobody listens, and nothing is raised."""
    meters = RayMeters(METERS, {"run": "tiny", "run_id": "1"})
    for meter in METERS:
        labels = dict.fromkeys(meter.labels, "x")
        tell = meters.add if meter.kind == COUNTER else meters.set
        tell(meter.name, 0.0, labels)
        tell(meter.name, 1.0, labels)
        assert not meter.name.endswith("_total"), "Ray puts it there itself"
    with pytest.raises(ValueError, match="stage"):
        meters.add("niwaki_evaluations", 1, {"outcome": "ok", "reason": ""})
