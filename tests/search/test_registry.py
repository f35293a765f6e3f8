"""What is registered loads by its alias where Niwaki is not, predicts the same, and was proven before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search import registry
from search.registry import RegisteredModel, RegistryRefused, load_registered, register
from search.tracking import Store, TrackingError, find_store, open_client
from workers.deployed import Deployed
from workers.measure.sameness import Comparison, Sameness

SAME = Sameness((Comparison("reloaded", 0.0, 1.0), Comparison("onnx", 1e-6, 1.0)), 4)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with one finished run, a network, images, and two files that stand for a candidate's."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = find_store(folder / "runs")
    client = open_client(store)
    experiment = client.create_experiment("garden", artifact_location=store.artifacts)
    run = client.create_run(experiment).info.run_id
    client.set_terminated(run, "FAILED", 1_700_000_000_000)
    files = [folder / "c.safetensors", folder / "c.onnx"]
    for file in files:
        file.write_text(file.name)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    return {
        "deployed": Deployed(network, (0.5,), (0.5,)),
        "example": torch.rand(4, 1, 8, 8),
        "name": "bonsai",
        "alias": "champion",
        "tags": {"niwaki.candidate": "abc"},
        "files": files,
        "store": store,
        "run_id": run,
        "sameness": SAME,
        "tolerance": 1e-4,
    }


@pytest.fixture(scope="module")
def registered(stage: dict[str, Any]) -> RegisteredModel:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    made = register(**stage)
    assert os.environ.get("MLFLOW_TRACKING_URI") == uri, "the environment was left changed"
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION" not in os.environ
    return made


def test_a_version_has_its_alias_tags_and_files(stage: dict[str, Any], registered: RegisteredModel) -> None:
    store: Store = stage["store"]
    assert registered == RegisteredModel("bonsai", "1", "models:/bonsai@champion")
    client = open_client(store)
    version = client.get_model_version_by_alias("bonsai", "champion")
    assert (str(version.version), version.tags["niwaki.candidate"], version.run_id) == ("1", "abc", stage["run_id"])
    run = client.get_run(stage["run_id"]).info
    assert (run.status, run.end_time) == ("FAILED", 1_700_000_000_000), "registering changed how the run ended"
    home = Path(str(store.artifacts).removeprefix("file://"))
    (program,) = home.rglob("model.pt2")
    extra = program.parent.parent / "extra_files"
    assert sorted(p.name for p in extra.iterdir()) == ["c.onnx", "c.safetensors"]
    assert not list(home.rglob("*.pth"))
    assert not list(home.rglob("*.pkl"))
    with zipfile.ZipFile(program) as archive:
        configs = [json.loads(archive.read(n)) for n in archive.namelist() if n.endswith("_config.json")]
    assert not any(entry["use_pickle"] for config in configs for entry in config["config"].values())


def test_it_loads_by_alias_without_niwaki_and_predicts_the_same(
    stage: dict[str, Any], registered: RegisteredModel, tmp_path: Path
) -> None:
    store: Store = stage["store"]
    images = torch.rand(5, 1, 8, 8)  # another batch size than was logged
    with torch.no_grad():
        expected = stage["deployed"](images).numpy()
        np.testing.assert_allclose(load_registered("bonsai", "champion", store)(images).numpy(), expected, atol=1e-6)
    np.save(tmp_path / "images.npy", images.numpy())
    script = (
        "import sys, numpy, torch, mlflow\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pytorch.load_model(sys.argv[2])\n"
        "numpy.save('logits.npy', model(torch.from_numpy(numpy.load('images.npy'))).detach().numpy())\n"
        "assert not {'workers', 'spaces', 'search'} & set(sys.modules)\n"
    )
    env = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run(
        [sys.executable, "-c", script, store.uri, registered.uri],
        cwd=tmp_path,
        env=env,
        check=True,
        capture_output=True,
        timeout=240,
    )
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sameness": Sameness((Comparison("masked", 0.5, 1.0),), 4)}, RegistryRefused, "difference 0.5, tolerance"),
        ({"sameness": Sameness((), 0)}, RegistryRefused, "difference inf"),
        (
            {"sameness": Sameness((Comparison("reloaded", 0.0, 1.0),), 4)},
            RegistryRefused,
            r"a \.onnx file is to be registered, but sameness was not measured for it",
        ),
        ({"example": torch.rand(1, 1, 8, 8)}, ValueError, "N ≥ 2"),
        ({"files": [Path("nowhere.onnx")]}, ValueError, r"nowhere\.onnx: no such file"),
    ],
)
def test_what_is_not_proven_is_refused_before_mlflow_is_asked(
    stage: dict[str, Any], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        register(**{**stage, "name": "weed", "store": Store("http://127.0.0.1:1"), **change})


def test_a_version_that_comes_back_different_gets_no_alias(
    stage: dict[str, Any], registered: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "compare", lambda *_: Comparison("registered", 0.2, 0.5))
    with pytest.raises(RegistryRefused, match=r"bonsai version 2: .*alias 'champion' was not moved"):
        register(**stage)
    client = open_client(stage["store"])
    assert str(client.get_model_version_by_alias("bonsai", "champion").version) == registered.version
    assert "niwaki.refused" in client.get_model_version("bonsai", "2").tags


def test_a_name_that_is_not_registered_is_a_readable_error(stage: dict[str, Any]) -> None:
    with pytest.raises(TrackingError, match=r"MLflow at sqlite:///.*oak"):
        load_registered("oak", "champion", stage["store"])
