"""A search from the command line to the registry, on real Ray, MLflow and files; and killed by -9 at any moment."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tiny_runs import archive, kill_driver, rows, run, run_json, start, wait_for_rows, workers_of, write_config

from search import load_result
from search.comparison import compare_archives
from workers.data import DataRequest, load_splits
from workers.export import count_program, run_onnx, run_program

pytestmark = pytest.mark.slow

RECIPES = {"controls__recipes": ["bar", "push_prune"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished tiny run by one worker: its folder, and what `niwaki search --json` said."""
    home = tmp_path_factory.mktemp("finished")
    config = write_config(home, cluster__workers=1, export__formats=["onnx", "torch"], **RECIPES)
    return home / "runs" / "tiny", run_json(home, "search", config)


def test_the_archive_holds_the_whole_course(finished: tuple[Path, dict[str, Any]]) -> None:
    rows = archive(finished[0]).to_pylist()
    own = [r for r in rows if r["origin"] == "evolution"]
    assert [r["number"] for r in rows] == list(range(len(rows)))
    assert sum(r["stage"] == "probe" for r in own) == 24
    assert sum(r["stage"] == "train" for r in own) == 4
    assert {r["origin"] for r in rows} == {
        "evolution",
        *(f"control:{name}" for name in ("sensitivity", "uniform", "random", "scratch", "bar", "push_prune", "chosen")),
    }
    assert all(r["status"] == "ok" for r in rows), [r["message"] for r in rows if r["status"] != "ok"]


def test_the_answer_says_whether_each_control_was_beaten(finished: tuple[Path, dict[str, Any]]) -> None:
    verdicts = finished[1]["verdicts"]
    assert {v["name"] for v in verdicts} == {"uniform", "sensitivity", "random", "scratch", "bar", "push_prune"}
    assert all("difference" in v for v in verdicts)


def test_achieved_equals_asked(finished: tuple[Path, dict[str, Any]]) -> None:
    path, answer = finished
    chosen = next(m for m in answer["front"] if m["candidate"] == answer["chosen"])
    assert chosen["params"] <= answer["base"]["params"] // 4
    program = path / "weights" / f"{chosen['candidate']}.pt2"
    assert count_program(program) == (chosen["params"], chosen["macs"])


def test_every_form_of_the_chosen_network_agrees(finished: tuple[Path, dict[str, Any]]) -> None:
    path, answer = finished
    images = _test_images()[:64]
    with torch.no_grad():
        ours = load_result(path).load()(torch.from_numpy(images)).numpy()
    weights = path / "weights" / answer["chosen"]
    np.testing.assert_allclose(run_onnx(weights.with_suffix(".onnx"), images), ours, atol=1e-4)
    np.testing.assert_allclose(run_program(weights.with_suffix(".pt2"), images), ours, atol=1e-4)


def test_a_fresh_process_loads_it_by_alias_and_predicts_as_reported(finished: tuple[Path, dict[str, Any]]) -> None:
    path, answer = finished
    np.savez(path.parent / "test.npz", images=_test_images(), labels=_splits().test.labels)
    store = f"sqlite:///{path.parents[1] / 'mlflow.db'}"
    script = f"""
import mlflow, numpy as np, torch
mlflow.set_tracking_uri({store!r})
model = mlflow.pytorch.load_model({answer["registered"]!r})
test = np.load({str(path.parent / "test.npz")!r})
with torch.no_grad():
    print((model(torch.from_numpy(test["images"])).argmax(1).numpy() == test["labels"]).mean())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    chosen = next(m for m in answer["front"] if m["candidate"] == answer["chosen"])
    assert answer["registered"] == "models:/niwaki-tiny@champion"
    assert float(done.stdout) == pytest.approx(chosen["test_accuracy"], abs=1e-9)


def test_the_report_lies_beside_the_run(finished: tuple[Path, dict[str, Any]]) -> None:
    path, answer = finished
    page = (path / "report" / "report.html").read_text()
    assert answer["chosen"] in page
    assert {p.name for p in (path / "report").glob("*.png")} >= {"front.png"}


def test_mlflow_holds_one_run_a_training_and_sync_adds_none(finished: tuple[Path, dict[str, Any]]) -> None:
    path, _ = finished
    trainings = sum(r["stage"] != "probe" for r in archive(path).to_pylist())
    assert _nested_runs(path) == trainings
    assert run_json(path.parents[1], "sync", path) == {"evaluations": archive(path).num_rows, "logged": 0}
    assert _nested_runs(path) == trainings


def test_another_network_of_the_front_is_exported_by_its_size(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, answer = finished
    smallest = min(m["params"] for m in answer["front"])
    exported = run_json(tmp_path, "export", path, "--max-params", str(smallest), "--format", "torch")
    assert count_program(tmp_path / exported["file"])[0] == smallest
    assert exported["difference"] < 1e-4


def test_a_finished_run_is_reported_again_without_a_cluster(finished: tuple[Path, dict[str, Any]]) -> None:
    path, answer = finished
    again = run_json(path.parents[1], "report", path)
    assert again["front"] == answer["front"]


def test_a_driver_killed_at_random_moments_and_resumed(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    undisturbed = archive(finished[0])
    config = write_config(tmp_path, tracking__enabled=False, **RECIPES)
    folder = tmp_path / "runs" / "tiny"
    moments = sorted(np.random.default_rng().integers(0, undisturbed.num_rows, 2).tolist())
    for moment in moments:
        command = ("resume", folder) if (folder / "run.json").exists() else ("search", config)
        process = start(tmp_path, *command)
        wait_for_rows(process, folder, moment)
        kill_driver(process)
    if not (folder / "run.json").exists():
        run(tmp_path, "search", config, "--quiet")
    run(tmp_path, "resume", folder, "--quiet")
    comparison = compare_archives(undisturbed, archive(folder))
    assert comparison.equal, f"killed at rows {moments}: {comparison}"
    assert not list((folder / "weights").glob("*.checkpoint"))


def test_two_workers_killed_in_a_probe_and_in_a_training_give_the_archive_of_one(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    undisturbed = archive(finished[0])
    config = write_config(tmp_path, tracking__enabled=False, cluster__workers=2, **RECIPES)
    folder = tmp_path / "runs" / "tiny"
    process = start(tmp_path, "search", config, "--quiet")
    wait_for_rows(process, folder, 5)
    _kill_one(process)
    while not list((folder / "weights").glob("*.checkpoint")) or rows(folder) < 5:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    _kill_one(process)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    comparison = compare_archives(undisturbed, archive(folder))
    assert comparison.equal, str(comparison)
    assert max(archive(folder).column("attempts").to_pylist()) >= 2
    assert "equal" in run(tmp_path, "compare", finished[0], "runs/tiny")


@pytest.mark.thorough
def test_another_seed_gives_another_archive(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    config = write_config(tmp_path, seed=1, controls__enabled=False, tracking__enabled=False)
    run(tmp_path, "search", config, "--quiet")
    assert not compare_archives(archive(finished[0]), archive(tmp_path / "runs" / "tiny")).equal
    assert not (tmp_path / "mlflow.db").exists()


def _splits() -> Any:
    return load_splits(DataRequest("digits", limit=300))


def _test_images() -> np.ndarray:
    return _splits().test.images.astype(np.float32) / 255


def _nested_runs(path: Path) -> int:
    script = f"""
import json
from mlflow import MlflowClient
client = MlflowClient("sqlite:///{path.parents[1] / "mlflow.db"}")
[experiment] = [e.experiment_id for e in client.search_experiments() if e.name == "niwaki"]
runs = client.search_runs([experiment])
print(json.dumps(sum("mlflow.parentRunId" in r.data.tags for r in runs)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def _kill_one(process: psutil.Popen) -> None:
    victims = workers_of(process)
    assert victims
    victims[0].kill()
