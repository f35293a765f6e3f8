"""A team's MLflow server that is killed, held up and started again during a search ends up with all of it, once.

PostgreSQL behind it and an S3-compatible store for artifacts, started by the script of deploy/. Candidates are trained
on simulated workers; all that has to do with MLflow is what a run does.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_runs import archive, kill_driver, rows
from torch import nn
from tracking_server import KEY, PASSWORD, SECRET, TrackingServer, dumped, missing, stored, tracking_server

from search.registry import load_registered, register
from search.tracking import Store, open_client
from workers.deployed import Deployed
from workers.evaluation import TRAIN
from workers.measure.sameness import Comparison, Sameness

PROBES = TRAININGS = 200
PACE = 0.1
WINDOW = 16
PATIENCE = 900.0
ACCOUNT = "planteduser:plantedpassword"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with tracking_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def account(server: TrackingServer) -> str:
    """The server's URI with an account, as a user may have it."""
    return server.uri.replace("//", f"//{ACCOUNT}@")


def write_config(folder: Path, uri: str, enabled: bool = True) -> Path:
    config = {
        "name": "tracked",
        "out": str(folder / "runs"),
        "data": {"source": "digits"},
        "search": {"probes": PROBES, "trainings": TRAININGS, "rounds": 1, "population": 8},
        "controls": {"enabled": False},
        "surrogate": {"enabled": False},
        "tracking": {"enabled": enabled, "uri": uri, "experiment": folder.name},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config: Path, pace: float = PACE) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "search"), *filter(None, sys.path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    log = (config.parent / "driver.log").open("a")
    return subprocess.Popen(
        [sys.executable, here / "tracked_driver.py", config, str(pace)],
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=config.parent,
        stdout=log,
        stderr=log,
        text=True,
    )


def wait_until(met: Callable[[], bool], driver: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def runs_of(server: TrackingServer, experiment: str) -> list[Any]:
    client = open_client(Store(server.uri))
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], max_results=5000)) if found else []


def ids(runs: list[Any]) -> dict[int, str]:
    """Ids of nested runs by the number of their evaluation; each stands once."""
    named = [(int(run.data.tags["niwaki.evaluation"]), run.info.run_id) for run in runs if is_nested(run)]
    assert len(dict(named)) == len(named), "a training has two runs"
    return dict(named)


def is_nested(run: Any) -> bool:
    return "niwaki.evaluation" in run.data.tags


@pytest.fixture(scope="module")
def tracked(server: TrackingServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search of 200 trainings through everything that may happen to a server, and to the driver once."""
    folder = tmp_path_factory.mktemp("tracked")
    config, run, log = write_config(folder, account(server)), folder / "runs" / "tracked", folder / "driver.log"
    gate = folder / "gate"

    def open_gate(count: int) -> None:
        """Let evaluations end until this many trainings are committed: servers take longer to start than searches."""
        gate.with_name("new-gate").write_text(str(count))
        gate.with_name("new-gate").replace(gate)

    open_gate(0)
    driver = start(config)

    def trained(count: int) -> None:
        open_gate(PROBES + count + 2 * WINDOW)
        wait_until(lambda: rows(run) >= PROBES + count, driver, log)

    def logged(count: int) -> None:
        wait_until(lambda: len(runs_of(server, folder.name)) > count, driver, log)

    trained(1)
    logged(3)
    server.kill()
    trained(40)  # the search goes on without it
    server.start()
    logged(40)
    server.signal(signal.SIGSTOP)
    time.sleep(12)  # beyond the patience of a request
    server.signal(signal.SIGCONT)
    trained(110)
    before = ids(runs_of(server, folder.name))
    kill_driver(driver)
    driver = start(config)
    trained(150)
    server.kill()
    trained(160)  # not so many that the gate lets the search end meanwhile: then the rest would be for `niwaki sync`
    server.start()
    open_gate(10 * TRAININGS)
    assert driver.wait(PATIENCE) == 0, log.read_text()
    return {"folder": folder, "run": run, "log": log, "before": before, "runs": runs_of(server, folder.name)}


def test_every_training_has_one_run(tracked: dict[str, Any]) -> None:
    table = archive(tracked["run"]).to_pylist()
    trained = {row["number"]: row for row in table if row["stage"] == TRAIN}
    assert len(trained) == TRAININGS
    nested = {int(run.data.tags["niwaki.evaluation"]): run for run in tracked["runs"] if is_nested(run)}
    assert set(ids(tracked["runs"])) == set(trained)
    [parent] = [run for run in tracked["runs"] if not is_nested(run)]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["trainings"] == TRAININGS
    assert parent.data.metrics["hypervolume"] == 0.5
    for number, row in trained.items():
        run = nested[number]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["niwaki.candidate"] == row["candidate"]
        assert run.data.metrics["accuracy"] == row["accuracy"]


def test_runs_keep_their_ids_when_the_search_is_resumed(tracked: dict[str, Any]) -> None:
    now = ids(tracked["runs"])
    assert len(tracked["before"]) > 10
    assert {number: now[number] for number in tracked["before"]} == tracked["before"]


def test_the_search_said_once_a_driver_that_the_server_was_away(tracked: dict[str, Any]) -> None:
    said = tracked["log"].read_text()
    assert 1 <= said.count("niwaki sync") <= 2


def test_no_credential_is_left_anywhere(tracked: dict[str, Any], server: TrackingServer) -> None:
    planted = re.compile("|".join([*ACCOUNT.split(":"), PASSWORD, KEY, SECRET]).encode())
    own = tracked["folder"] / "config.yaml"  # what the user wrote
    files = [path for path in tracked["folder"].rglob("*") if path.is_file() and path != own]
    assert {"config.yaml", "run.json", "driver.log"} <= {path.name for path in files}
    places = {str(path): path.read_bytes() for path in files} | dict(stored(server)) | {"database": dumped(server)}
    places["server"] = server.log.read_bytes()
    assert any(name.endswith("config.json") for name in places), "the store is empty: the test would prove nothing"
    assert {name for name, content in places.items() if planted.search(content)} == set()


def test_what_is_registered_loads_and_predicts(tracked: dict[str, Any], server: TrackingServer) -> None:
    """Twice, so that the alias has to move; artifacts come back out of the object store."""
    store = Store(account(server))
    images = torch.rand(4, 1, 8, 8)
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        deployed = Deployed(network, (0.5,), (0.5,)).eval()
        weights = tracked["folder"] / f"{seed}.safetensors"
        weights.write_text("stands for weights")
        made = register(
            deployed=deployed,
            example=images,
            name="bonsai",
            alias="champion",
            tags={"niwaki.candidate": str(seed)},
            files=[weights],
            store=store,
            run_id=next(run.info.run_id for run in tracked["runs"] if not is_nested(run)),
            sameness=Sameness((Comparison("reloaded", 0.0, 1.0),), 4),
            tolerance=1e-4,
        )
        assert made.version == str(seed + 1)
    version = open_client(store).get_model_version_by_alias("bonsai", "champion")
    assert (str(version.version), version.tags["niwaki.candidate"]) == ("2", "1")
    with torch.no_grad():
        expected = deployed(images).numpy()
        np.testing.assert_allclose(load_registered("bonsai", "champion", store)(images).numpy(), expected, atol=1e-5)
    assert any(key.endswith("1.safetensors") for key in stored(server))
    # Files went through the server: the store behind it is one that clients need not reach.
    log = server.log.read_bytes()
    assert b"/mlflow-artifacts/artifacts/" in log
    assert not re.search(rb"/mlflow-artifacts/(presigned|mpu)/", log)
