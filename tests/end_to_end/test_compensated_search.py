"""A search whose candidates are compensated keeps the promises of one whose are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import archive, kill_driver, run, run_json, start, wait_for_rows, write_config

from search import load_result
from search.comparison import compare_archives
from workers.data import DataRequest, load_splits
from workers.export import run_onnx, run_program

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.mark.timeout(600)
def test_its_course_is_fixed_and_its_networks_are_the_same_in_every_form(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    formats = {"export__formats": ["onnx", "torch"], "tracking__enabled": False, "probe__compensate": True}
    answer = run_json(whole, "search", write_config(whole, cluster__workers=1, **formats))
    folder = whole / "runs" / "tiny"

    process = start(cut, "search", write_config(cut, cluster__workers=2, **formats), "--quiet")
    wait_for_rows(process, cut / "runs" / "tiny", 20)
    kill_driver(process)
    run(cut, "resume", "runs/tiny", "--quiet")
    comparison = compare_archives(archive(folder), archive(cut / "runs" / "tiny"))
    assert comparison.equal, str(comparison)

    rows = archive(folder).to_pylist()
    assert all(r["status"] == "ok" for r in rows), [r["message"] for r in rows if r["status"] != "ok"]
    differences = load_result(folder).front()["sameness_difference"].to_pylist()
    assert all(difference <= 1e-4 for difference in differences), differences
    images = load_splits(DataRequest("digits", limit=300)).test.images[:64].astype(np.float32) / 255
    with torch.no_grad():
        ours = load_result(folder).load()(torch.from_numpy(images)).numpy()
    weights = folder / "weights" / answer["chosen"]
    np.testing.assert_allclose(run_onnx(weights.with_suffix(".onnx"), images), ours, atol=1e-4)
    np.testing.assert_allclose(run_program(weights.with_suffix(".pt2"), images), ours, atol=1e-4)
    assert answer["chosen"] in run(whole, "export", "runs/tiny")
