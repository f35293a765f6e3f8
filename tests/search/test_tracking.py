"""MLflow holds each training once, whatever happened in between; and is never in the search's way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.loading import dump_config, parse_config
from search.tracking import BackgroundTracker, Store, Tracker, TrackingError, find_store, open_client, redact
from spaces.genome import Genome
from workers.evaluation import FAILED, OK, PROBE, TRAIN, Evaluation, Outcome, Request

CONFIG = {
    "name": "trial",
    "seed": 3,
    "search": {"strategy": "evolution"},
    "budget": {"params": None},
    "tracking": {"uri": "https://me:hunter2@mlflow.example/x"},
}


def make_evaluation(number: int, stage: str = TRAIN, status: str = OK) -> Evaluation:
    genome = Genome((), 0.5, (0.1 + number / 100,), ((1.0,),))
    metrics = {"accuracy": 0.5 + number / 100, "params": 1000.0, "latency_ms": float("nan")} if status == OK else {}
    reason, message = ("", "") if status == OK else ("oom", "out of memory")
    outcome = Outcome(number, status, reason, message, metrics, seconds=2.0)
    return Evaluation(Request(number, stage, genome, "evolution"), outcome)


EVALUATIONS = [
    make_evaluation(0, PROBE),
    make_evaluation(1, PROBE, FAILED),
    make_evaluation(2),
    make_evaluation(3, TRAIN, FAILED),
    make_evaluation(4, PROBE),
    make_evaluation(5),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return find_store(folder / "runs")


def make_tracker(store: Store, run: str) -> Tracker:
    return Tracker(store, "garden", run, "trial", CONFIG)


def contents(store: Store, run: str) -> list[dict[str, Any]]:
    """All that MLflow holds of a search: every run with its metric histories, in a comparable form."""
    client = open_client(store)
    found = client.get_experiment_by_name("garden")
    runs = client.search_runs([found.experiment_id], f"tags.`niwaki.run` = '{run}'", max_results=1000)
    return sorted(
        (
            {
                "id": r.info.run_id,
                "status": r.info.status,
                "tags": {k: v for k, v in r.data.tags.items() if k.startswith("niwaki.") or k == "mlflow.parentRunId"},
                "params": dict(r.data.params),
                "metrics": {
                    k: [(p.step, p.value, p.timestamp) for p in client.get_metric_history(r.info.run_id, k)]
                    for k in r.data.metrics
                },
                "artifacts": [a.path for a in client.list_artifacts(r.info.run_id)],
            }
            for r in runs
        ),
        key=lambda r: int(r["tags"].get("niwaki.evaluation", -1)),
    )


def test_a_search_is_one_run_with_one_nested_run_per_training(store: Store) -> None:
    tracker = make_tracker(store, "whole")
    assert tracker.project(EVALUATIONS) == 3
    tracker.finish({"hypervolume": 0.7})
    parent, *children = contents(store, "whole")
    assert [c["tags"]["niwaki.evaluation"] for c in children] == ["2", "3", "5"]
    assert [c["status"] for c in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert {c["tags"]["mlflow.parentRunId"] for c in children} == {parent["id"]} == {tracker.parent}
    assert children[0]["tags"]["niwaki.candidate"] == EVALUATIONS[2].request.genome.id
    assert children[1]["tags"]["niwaki.reason"] == "oom"
    assert [value for _, value, _ in children[2]["metrics"]["accuracy"]] == [0.55]
    assert "latency_ms" not in children[0]["metrics"]
    assert children[0]["artifacts"] == ["genome.json"]
    assert parent["status"] == "FINISHED"
    assert parent["params"] == {"name": "trial", "seed": "3", "search.strategy": "evolution"}
    assert [(s, v) for s, v, _ in parent["metrics"]["evaluations"]] == [(2, 3.0), (3, 4.0), (5, 6.0)]
    assert [v for _, v, _ in parent["metrics"]["failures"]] == [1.0, 2.0, 2.0]
    assert [v for _, v, _ in parent["metrics"]["hypervolume"]] == [0.7]
    assert tracker.training(5) == children[2]["id"]
    assert tracker.training(0) is None

    assert open_client(store).get_run(parent["id"]).info.artifact_uri.startswith(str(store.artifacts))
    config = Path(open_client(store).download_artifacts(parent["id"], "config.json")).read_text()
    assert json.loads(config)["tracking"]["uri"] == "https://…@mlflow.example/x"


def test_projecting_again_changes_nothing(store: Store) -> None:
    first = make_tracker(store, "again")
    first.project(EVALUATIONS)
    first.finish()
    before = contents(store, "again")
    assert first.project(EVALUATIONS) == 0
    second = make_tracker(store, "again")
    assert second.project(EVALUATIONS) == 0
    second.finish()
    assert contents(store, "again") == before


def project_and_finish(tracker: Tracker) -> None:
    tracker.project(EVALUATIONS)
    tracker.finish()


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.mark.parametrize("call", range(3, 16, 2))
def test_a_projection_killed_anywhere_is_completed_without_doubles(store: Store, call: int) -> None:
    """The kill comes right after MLflow's ``call``-th change, so that each step has been the last one once."""
    run = f"killed {call}"
    tracker = make_tracker(store, run)
    changes = 0

    def counting(method: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal changes
            result = method(*args, **kwargs)
            changes += 1
            if changes == call:
                raise Killed
            return result

        return counted

    client = open_client(store)
    for name in ("create_run", "log_batch", "log_text", "set_terminated"):
        setattr(client, name, counting(getattr(client, name)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.tracking.open_client", lambda _: client)
        with pytest.raises(Killed):
            project_and_finish(tracker)
    again = make_tracker(store, run)
    again.project(EVALUATIONS)
    again.finish()

    def told(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Without ids and times, which may differ."""
        return [
            {
                **{k: r[k] for k in ("status", "params", "artifacts")},
                "tags": {k: v for k, v in r["tags"].items() if k not in ("niwaki.run", "mlflow.parentRunId")},
                "metrics": {k: [(s, v) for s, v, _ in points] for k, points in r["metrics"].items()},
            }
            for r in runs
        ]

    straight = make_tracker(store, f"straight {call}")
    straight.project(EVALUATIONS)
    straight.finish()
    assert told(contents(store, run)) == told(contents(store, f"straight {call}"))


class LostAnswer(Exception):
    """Stands for a server that was killed, or held up for too long, after it had been asked."""


@pytest.mark.parametrize("late", [0, 1, 4], ids=["done at once", "done a call later", "done long after"])
@pytest.mark.parametrize("call", range(1, 5))
def test_a_run_whose_answer_is_lost_is_not_made_twice(store: Store, call: int, late: int) -> None:
    """MLflow's ``call``-th creation of a run is done, ``late`` more requests later, but nobody hears of it."""
    run = f"lost {call} {late}"
    client = open_client(store)
    create, end = client.create_run, client.set_terminated
    created = 0
    owed: list[tuple[int, Any]] = []

    def work_off(by_now: int) -> None:
        for entry in [entry for entry in owed if entry[0] <= by_now]:
            owed.remove(entry)
            entry[1]()

    def creating(*args: Any, **kwargs: Any) -> Any:
        nonlocal created
        created += 1
        if created == call:
            owed.append((created + late, lambda: create(*args, **kwargs)))
            work_off(created)
            raise LostAnswer
        work_off(created)
        return create(*args, **kwargs)

    def ending(*args: Any, **kwargs: Any) -> Any:
        if args[0] == tracker.parent:
            work_off(1000)  # the last chance: what comes after the search's end nobody can know of
        return end(*args, **kwargs)

    client.create_run, client.set_terminated = creating, ending
    tracker = make_tracker(store, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.tracking.open_client", lambda _: client)
        with pytest.raises(TrackingError, match="LostAnswer"):
            project_and_finish(tracker)
        project_and_finish(tracker)
    assert not owed
    parent, *children = contents(store, run)
    assert [c["tags"]["niwaki.evaluation"] for c in children] == ["2", "3", "5"]
    assert {c["tags"]["mlflow.parentRunId"] for c in children} == {parent["id"]} == {tracker.parent}
    assert [c["status"] for c in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert all(c["artifacts"] == ["genome.json"] for c in children)
    assert [(s, v) for s, v, _ in parent["metrics"]["evaluations"]] == [(2, 3.0), (3, 4.0), (5, 6.0)]


@pytest.mark.parametrize("call", range(1, 8))
def test_a_point_whose_answer_is_lost_stays_one_point(store: Store, call: int) -> None:
    run = f"point {call}"
    client = open_client(store)
    log, logged = client.log_batch, 0

    def logging(*args: Any, **kwargs: Any) -> None:
        nonlocal logged
        logged += 1
        log(*args, **kwargs)
        if logged == call:
            raise LostAnswer

    client.log_batch = logging
    tracker = make_tracker(store, run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.tracking.open_client", lambda _: client)
        with pytest.raises(TrackingError, match="LostAnswer"):
            project_and_finish(tracker)
        project_and_finish(tracker)
    for found in contents(store, run):
        for name, points in found["metrics"].items():
            assert len({step for step, _, _ in points}) == len(points), name


def test_in_the_background_the_same_is_logged(store: Store) -> None:
    warnings: list[str] = []
    background = BackgroundTracker(make_tracker(store, "background"), warnings.append)
    for evaluation in EVALUATIONS:
        background.add(evaluation)
    assert background.close(deadline_s=120) == 0
    assert warnings == []
    assert len(contents(store, "background")) == 4


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def test_an_unreachable_server_is_warned_of_once_and_leaves_the_rest_to_sync(closed_port: int) -> None:
    warned = threading.Event()
    warnings: list[str] = []

    def warn(text: str) -> None:
        warnings.append(text)
        warned.set()

    store = Store(f"http://me:hunter2@127.0.0.1:{closed_port}")
    background = BackgroundTracker(make_tracker(store, "nowhere"), warn)
    for evaluation in EVALUATIONS:
        background.add(evaluation)
    assert warned.wait(120)
    assert background.close(deadline_s=120) == len(EVALUATIONS)
    assert len(warnings) == 1
    assert "hunter2" not in warnings[0]
    assert f"…@127.0.0.1:{closed_port}" in warnings[0]
    assert "niwaki sync" in warnings[0]
    with pytest.raises(TrackingError) as failure:
        make_tracker(store, "nowhere").project(EVALUATIONS)
    assert "hunter2" not in str(failure.value)
    assert failure.value.__cause__ is None


class Hanging:
    """A server that accepts a request and never answers, until it is let go."""

    def __init__(self) -> None:
        self.asked, self.release = threading.Event(), threading.Event()

    def project(self, evaluations: Iterable[Evaluation]) -> int:
        self.asked.set()
        self.release.wait()
        return len(list(evaluations))


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    server = Hanging()
    yield server
    server.release.set()


def test_a_hanging_server_holds_up_neither_the_search_nor_its_end(hanging: Hanging) -> None:
    background = BackgroundTracker(hanging, lambda _: None)
    background.add(EVALUATIONS[0])
    assert hanging.asked.wait(60)
    for evaluation in EVALUATIONS[1:]:
        background.add(evaluation)  # returns although the thread is stuck
    assert background.close(deadline_s=0.05) == len(EVALUATIONS)


def test_an_outage_is_made_up_for_in_order() -> None:
    class Flaky:
        def __init__(self) -> None:
            self.seen: list[int] = []
            self.outages = 2

        def project(self, evaluations: Iterable[Evaluation]) -> int:
            (evaluation,) = evaluations
            if evaluation.request.number == 2 and self.outages:
                self.outages -= 1
                raise TrackingError("down")
            self.seen.append(evaluation.request.number)
            return 1

    server = Flaky()
    warnings: list[str] = []
    background = BackgroundTracker(server, warnings.append, longest_wait=0.01)
    for evaluation in EVALUATIONS:
        background.add(evaluation)
    while len(server.seen) < len(EVALUATIONS):
        threading.Event().wait(0.01)
    assert background.close(60) == 0
    assert server.seen == [0, 1, 2, 3, 4, 5]
    assert warnings == ["down. The search goes on; `niwaki sync` brings MLflow up to date later."]


@pytest.mark.parametrize("fails", [False, True])
def test_what_takes_long_is_prepared_before_anything_is_logged(fails: bool) -> None:
    story: list[str] = []

    def prepare() -> None:
        story.append("prepared")
        if fails:
            raise TrackingError("not now")

    class Noting:
        def project(self, evaluations: Iterable[Evaluation]) -> int:
            story.extend(str(evaluation.request.number) for evaluation in evaluations)
            return 1

    warnings: list[str] = []
    background = BackgroundTracker(Noting(), warnings.append, prepare=prepare)
    background.add(EVALUATIONS[0])
    assert background.close(60) == 0
    assert story == ["prepared", "0"]
    assert warnings == []


def test_where_mlflow_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    beside = (tmp_path / "mlartifacts").as_uri()
    assert find_store(Path("runs")) == Store(f"sqlite:///{tmp_path}/mlflow.db", beside)
    assert find_store(Path("runs"), "sqlite:///other/m.db") == Store(
        f"sqlite:///{tmp_path}/other/m.db", (tmp_path / "other" / "mlartifacts").as_uri()
    )
    assert find_store(Path("runs"), "postgresql://u:p@db/x") == Store("postgresql://u:p@db/x", beside)
    assert find_store(Path("runs"), "http://server:5000") == Store("http://server:5000")
    assert "hunter2" not in repr(find_store(Path("runs"), "http://me:hunter2@server:5000"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://first:5000")
    assert find_store(Path("runs"), "http://server:5000").uri == "http://first:5000"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@host:5000/x failed", "http://…@host:5000/x failed"),
        ("postgresql://u:p@ss@db/x and s3://key:secret@bucket", "postgresql://…@db/x and s3://…@bucket"),
        ("postgresql+psycopg2://u:p/w@db:5432/x failed", "postgresql+psycopg2://…@db:5432/x failed"),
        ("https://host/x?token=abc&n=1", "https://host/x?token=…&n=1"),
        ("http://host/path@2", "http://host/path@2"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_credentials_are_never_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://me:pw@host:5000/x", "http://host:5000/x"),
        (
            "postgresql+psycopg2://u:p/w@db:5432/x?sslmode=require&password=pw",
            "postgresql+psycopg2://db:5432/x?sslmode=require",
        ),
        ("https://host/x?token=abc", "https://host/x"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host/path@2?n=1", "http://host/path@2?n=1"),
        ("databricks", "databricks"),
    ],
)
def test_a_configuration_is_kept_without_credentials(uri: str, kept: str) -> None:
    settings = {"name": "trial", "data": {"source": "digits"}, "tracking": {"uri": uri}}
    written = yaml.safe_load(dump_config(parse_config(settings)))
    assert written["tracking"]["uri"] == kept
    assert parse_config(settings).tracking.uri == uri, "the run itself still needs them"
