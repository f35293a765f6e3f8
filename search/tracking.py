"""MLflow as a projection of the archive: one run per search, one nested run per training, never logged twice.

Nothing is read back from MLflow but what is already there. So projecting an archive again, after a crash or an
outage, adds exactly what is missing, and a server that is down costs the search nothing.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.tracking_store import (
    Store,
    TrackingError,
    brisk,
    find_store,
    quiet_mlflow,
    readable_errors,
    redact,
    redact_all,
)
from search.tracking_thread import BackgroundTracker
from workers.evaluation import PASSING, Evaluation

__all__ = ["BackgroundTracker", "Store", "Tracker", "TrackingError", "find_store", "open_client", "redact"]

RUN, CANDIDATE, NUMBER, PARENT = "niwaki.run", "niwaki.candidate", "niwaki.evaluation", "mlflow.parentRunId"
_UNFINISHED = ("RUNNING", "SCHEDULED")
_PARAMS = (
    "name",
    "seed",
    "data.source",
    "network.name",
    "search.strategy",
    "search.probes",
    "search.trainings",
    "search.cost",
    "budget.params",
    "budget.macs",
    "budget.bytes",
    "training.epochs",
)


@dataclass
class _Story:
    """What the search has come to, told evaluation by evaluation."""

    last: int = -1
    evaluations: int = 0
    trainings: int = 0
    failures: int = 0
    seconds: float = 0.0
    best: float = field(default=-math.inf)

    def hear(self, evaluation: Evaluation) -> None:
        self.last = evaluation.request.number
        self.evaluations += 1
        self.failures += not evaluation.ok
        self.seconds += evaluation.outcome.seconds
        if evaluation.request.stage not in PASSING:
            self.trainings += 1
            if evaluation.ok:
                self.best = max(self.best, evaluation.metrics.get("accuracy", -math.inf))

    @property
    def metrics(self) -> dict[str, float]:
        return {
            "evaluations": self.evaluations,
            "trainings": self.trainings,
            "failures": self.failures,
            "device_seconds": self.seconds,
            "best_accuracy": self.best,
        }


class Tracker:
    """Projects one search into MLflow, in the calling thread.

    Args:
        store: where to (see :func:`find_store`).
        experiment: created if it does not exist.
        run: unique id of the run's folder: what makes two projections of a search the same search.
        name: of the parent run, for people.
        config: the run's configuration as plain values; credentials in it are not logged.

    Nothing is contacted before the first call of a method; MLflow is imported then (seconds). One tracker at a
    time may project a run.
    """

    def __init__(self, store: Store, experiment: str, run: str, name: str, config: Mapping[str, Any]) -> None:
        self.store = store
        self._experiment, self._run, self._name, self._config = experiment, run, name, config
        self._client: Any = None
        self._identity = ""
        self._parent = ""
        self._children: dict[int, tuple[str, bool]] = {}
        self._points: set[int] = set()
        self._moments: dict[tuple[str, int], int] = {}
        self._unsure = True
        self._story = _Story()

    def prepare(self) -> None:
        """Import MLflow, which takes seconds; nobody is contacted.

        Raises:
            TrackingError: it cannot be imported.
        """
        with readable_errors(self.store):
            import_mlflow()

    def project(self, evaluations: Iterable[Evaluation]) -> int:
        """Bring MLflow up to date with committed evaluations, given in order of their numbers from 0.

        All of them are needed for the parent's totals, but only trainings become runs. Evaluations that this
        tracker was given before are skipped, so both a growing archive and its newest part may be passed.

        Returns:
            How many nested runs were created or completed: 0 where MLflow was up to date.

        Raises:
            TrackingError: the server cannot be reached or refuses; call again later, nothing is doubled.
        """
        done = 0
        with self._talking():
            self._open()
        for evaluation in evaluations:
            if evaluation.request.number <= self._story.last:
                continue
            if evaluation.request.stage not in PASSING:
                with self._talking():
                    done += self._log_training(evaluation)
                    self._log_point(evaluation)
            self._story.hear(evaluation)
        return done

    def finish(self, metrics: Mapping[str, float] | None = None, failed: bool = False) -> None:
        """Log the search's final ``metrics`` (its front's hypervolume, say) and close the parent run.

        Raises:
            TrackingError: as :meth:`project`.
        """
        with self._talking():
            self._open()
            run = self._client.get_run(self._parent)
            final = {**self._story.metrics, **(metrics or {})}
            changed = {k: v for k, v in _finite(final).items() if run.data.metrics.get(k) != v}
            self._log_metrics(self._parent, changed, max(self._story.last, 0))
            status = "FAILED" if failed else "FINISHED"
            if run.info.status != status:
                self._client.set_terminated(self._parent, status)
            self._survey()

    @property
    def parent(self) -> str:
        """MLflow's id of the search's run; empty before the first call."""
        return self._parent

    def training(self, number: int) -> str | None:
        """MLflow's id of the nested run of evaluation ``number``, if it has one."""
        found = self._children.get(number)
        return found[0] if found else None

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            with readable_errors(self.store), brisk():
                yield
        except TrackingError:
            # What was asked may have been done all the same, and only the answer was lost.
            self._unsure = True
            raise

    def _open(self) -> None:
        """Find or create the experiment and the parent run, and learn which nested runs there are already."""
        if not self._unsure:
            return
        client = self._client = open_client(self.store)
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is not None:
            identity = experiment.experiment_id
        else:
            identity = client.create_experiment(self._experiment, artifact_location=self.store.artifacts)
        self._identity = identity
        parent = self._survey()
        if not parent:
            parent = client.create_run(identity, tags={RUN: self._run}, run_name=self._name).info.run_id
        self._describe(parent)
        self._points = {point.step for point in client.get_metric_history(parent, "evaluations")}
        self._parent = parent
        self._unsure = False

    def _survey(self) -> str:
        """Learn which runs there are, and delete doubles; the parent's id, empty where there is none.

        A server that is killed or held up may create a run whose id we never hear of, even long after we gave up
        waiting for it and asked again. Of such doubles the one stays that says most: a parent that has children, a
        nested run that is whole, else the first.
        """
        parents: list[str] = []
        found: dict[int, list[tuple[str, bool]]] = {}
        named: set[str] = set()
        for run in _all_runs(self._client, self._identity, self._run):
            tags = run.data.tags
            if NUMBER in tags:
                entry = (run.info.run_id, run.info.status in _UNFINISHED)
                found.setdefault(int(tags[NUMBER]), []).append(entry)
                named.add(tags.get(PARENT, ""))
            else:
                parents.append(run.info.run_id)
        parents.sort(key=lambda run: run not in named)
        doubles = parents[1:]
        self._children.clear()
        for number, runs in found.items():
            kept = self._children[number] = min(runs, key=lambda entry: entry[1])
            doubles += [run for run, _ in runs if run != kept[0]]
        for run in doubles:
            self._client.delete_run(run)
        return parents[0] if parents else ""

    def _describe(self, parent: str) -> None:
        from mlflow.entities import Param

        run = self._client.get_run(parent)
        known = run.data.params
        flat = {name: value for name in _PARAMS if (value := _look_up(self._config, name)) is not None}
        # Parameters cannot change in MLflow; a resumed run's settings may: the artifact is the truth.
        new = [Param(name, redact(str(value))[:500]) for name, value in flat.items() if name not in known]
        if new:
            self._client.log_batch(parent, params=new)
        text = json.dumps(redact_all(self._config), indent=1, sort_keys=True, default=str)
        self._client.log_text(parent, text, "config.json")

    def _log_training(self, evaluation: Evaluation) -> int:
        """Create or complete the nested run; its termination is the last act, and so says that it is whole."""
        from mlflow.entities import Param

        request, outcome = evaluation.request, evaluation.outcome
        run, unfinished = self._children.get(request.number, ("", True))
        if not unfinished:
            return 0
        params = {"candidate": request.genome.id, "origin": request.origin, "repeat": str(request.repeat)}
        metrics = _finite({**outcome.metrics, "seconds": outcome.seconds, "attempts": outcome.attempts})
        if not run:
            run = self._create(evaluation)
        else:
            known = self._client.get_run(run).data
            params = {k: v for k, v in params.items() if k not in known.params}
            metrics = {k: v for k, v in metrics.items() if k not in known.metrics}
        if params or metrics:
            entries = [Param(k, v) for k, v in params.items()]
            self._client.log_batch(run, metrics=self._points_at(run, metrics, 0), params=entries)
        self._client.log_text(run, request.genome.text, "genome.json")
        self._client.set_terminated(run, "FINISHED" if evaluation.ok else "FAILED")
        self._children[request.number] = (run, False)
        return 1

    def _create(self, evaluation: Evaluation) -> str:
        """The nested run of a training, with nothing in it yet."""
        request, outcome = evaluation.request, evaluation.outcome
        tags = {
            RUN: self._run,
            PARENT: self._parent,
            CANDIDATE: request.genome.id,
            NUMBER: str(request.number),
            "niwaki.stage": request.stage,
            "niwaki.origin": request.origin,
        }
        if not evaluation.ok:
            tags |= {"niwaki.reason": outcome.reason, "niwaki.message": redact(outcome.message)[:1000]}
        name = f"{request.genome.id} · {request.stage} {request.number}"
        run: str = self._client.create_run(self._identity, tags=tags, run_name=name).info.run_id
        self._children[request.number] = (run, True)
        return run

    def _log_point(self, evaluation: Evaluation) -> None:
        """One point of the parent's curves per training, at its number: the same however the projection was cut."""
        story = _Story(**vars(self._story))
        story.hear(evaluation)
        if story.last not in self._points:
            self._log_metrics(self._parent, _finite(story.metrics), story.last)
            self._points.add(story.last)

    def _log_metrics(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        if metrics:
            self._client.log_batch(run, metrics=self._points_at(run, metrics, step))

    def _points_at(self, run: str, metrics: Mapping[str, float], step: int) -> list[Any]:
        """Points of curves; asked for again they bear the same time, so that MLflow takes them for the same points."""
        from mlflow.entities import Metric

        moment = self._moments.setdefault((run, step), int(time.time() * 1000))
        return [Metric(k, float(v), moment, step) for k, v in metrics.items()]


def open_client(store: Store) -> Any:
    """An MLflow client; the first call imports MLflow and, for SQLite, creates the database's tables."""
    if store.uri.startswith("sqlite:///"):
        Path(store.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with quiet_mlflow():
        client = import_mlflow()(tracking_uri=store.uri)
        client.search_experiments(max_results=1)
    return client


def import_mlflow() -> Any:
    """MLflow's client class."""
    # Read when MLflow is imported: its usage statistics would go out from machines whose owners never agreed.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # or its loggers report every table they create
    # Else a server sends clients to the object store behind it, which they need not reach: they would wait for minutes.
    for way in ("UPLOAD", "DOWNLOAD"):
        os.environ.setdefault(f"MLFLOW_ENABLE_PROXY_MULTIPART_{way}", "false")
    from mlflow import MlflowClient

    return MlflowClient


def _all_runs(client: Any, experiment: str, run: str) -> Iterator[Any]:
    """All runs of a search, oldest first, over all pages."""
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`{RUN}` = '{run}'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def _look_up(config: Mapping[str, Any], name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
