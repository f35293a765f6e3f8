"""The way to Ray: a slow start is tried again, a wrong one is not; the code travels, but not twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import ray_constants

from workers.connection import STARTS, ClusterError, ClusterSettings, NoCluster, _start_ray, connect
from workers.travel import TooLarge


class Starts:
    """Stands for ``ray.init``: fails so many times with an error, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.calls = failures, error, 0

    def __call__(self, **options: Any) -> None:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error


@pytest.mark.parametrize("failures", range(STARTS + 1))
def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    starts = Starts(failures, Exception("The current node timed out during startup."))
    monkeypatch.setattr(ray, "init", starts)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    if failures < STARTS:
        _start_ray(num_cpus=2)
    else:
        with pytest.raises(RuntimeError, match="timed out during startup"):
            _start_ray(num_cpus=2)
    assert starts.calls == min(failures + 1, STARTS)


@pytest.mark.parametrize("before", [None, "1"])
def test_a_cluster_of_its_own_is_started_on_loopback_and_nothing_is_left_of_that(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    enabled = ray_constants.ENABLE_RAY_CLUSTER
    seen: list[tuple[str, bool]] = []

    def init(**options: Any) -> None:
        seen.append((os.environ[name], ray_constants.ENABLE_RAY_CLUSTER))
        raise OSError("no room")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(OSError, match="no room"):
        _start_ray(num_cpus=2)
    assert seen == [("0", False)]
    assert os.environ.get(name) == before
    assert enabled == ray_constants.ENABLE_RAY_CLUSTER


def test_what_cannot_work_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(1, ValueError("no such option"))
    monkeypatch.setattr(ray, "init", starts)
    with pytest.raises(ValueError, match="no such option"):
        _start_ray(num_cpus=2)
    assert starts.calls == 1


@pytest.mark.parametrize(
    ("job", "ours"),
    [
        (None, True),
        ({}, True),
        ({"runtime_env": {"working_dir": "gcs://code.zip"}}, True),
        ({"runtime_env": {"py_modules": ["gcs://code.zip"]}}, False),
    ],
)
def test_the_code_travels_unless_the_job_brings_its_own(
    job: dict[str, Any] | None, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if job is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    connect(ClusterSettings(address="auto"), ())
    names = {Path(path).name for path in given["runtime_env"].get("py_modules", ())}
    assert names == ({"search", "spaces", "workers"} if ours else set())


def test_another_version_of_ray_is_told_apart_from_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ray, "init", Starts(1, RuntimeError("Version mismatch: The cluster was started with: Ray: 1.0"))
    )
    with pytest.raises(ClusterError, match=r"Ray: 1\.0.*make \.venv/installed") as caught:
        connect(ClusterSettings(address="auto"), ())
    assert not isinstance(caught.value, NoCluster)


def test_too_much_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> list[str]:
        raise TooLarge("60 MB")

    monkeypatch.setattr("workers.connection.travelling", refuse)
    with pytest.raises(ClusterError, match="60 MB"):
        connect(ClusterSettings(address="auto"), ())
