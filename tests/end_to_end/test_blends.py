"""Searches that blend all criteria there are: clustered beside ratios, and as the paper does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import archive, run_json, write_config

from spaces.criteria import CRITERIA

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.mark.parametrize("blend", ["joint", "paper"])
def test_a_search_over_all_criteria_completes(blend: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, space={"criteria": list(CRITERIA), "blend": blend, "criteria_clusters": 4})
    result = run_json(tmp_path, "search", config, "--quiet")
    assert result["chosen"] is not None
    rows = archive(tmp_path / "runs" / "tiny").to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    searched = [row for row in rows if row["origin"] == "evolution"]
    for row in searched:
        for weights in json.loads(row["genome"])["blend"]:
            assert 1 <= np.count_nonzero(weights) <= 4
    assert (len({row["params"] for row in searched}) == 1) == (blend == "paper")
