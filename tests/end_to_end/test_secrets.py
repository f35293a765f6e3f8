"""No secret of the environment is left in anything that a run writes or says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tiny_runs import NIWAKI, PATIENCE, write_config

PLANTED = {
    "RAY_AUTH_TOKEN": "plantedtoken" * 4,
    "AWS_ACCESS_KEY_ID": "plantedaccess",
    "AWS_SECRET_ACCESS_KEY": "plantedsecret",
    "MLFLOW_TRACKING_USERNAME": "planteduser",
    "MLFLOW_TRACKING_PASSWORD": "plantedpassword",
    "MLFLOW_TRACKING_URI": "http://planteduser:plantedpassword@127.0.0.1:9/?token=plantedquery",  # nobody answers there
}


@pytest.mark.slow
def test_a_run_keeps_and_tells_no_secret(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        search={"probes": 4, "trainings": 1, "rounds": 1, "population": 4},
        controls={"enabled": False},
        base_training={"epochs": 1},
        training={"epochs": 1},
    )
    ended = subprocess.run(
        [NIWAKI, "search", config],
        cwd=tmp_path,
        env={**os.environ, **PLANTED, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert "planted" not in ended.stdout + ended.stderr
    assert "127.0.0.1:9" in ended.stderr, "MLflow was not asked: the test would prove nothing"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"standing.json", "report.html", "run.json"} <= {path.name for path in files}
    found = {str(path.relative_to(tmp_path)): re.findall(rb"planted\w+", path.read_bytes()) for path in files}
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
