"""A finished run's folder written by hand: what commands on runs need to see, without a search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from search.archive import Archive
from search.folder import RunFolder
from search.loading import parse_config
from search.preflight import check
from search.report import DataSet, Environment, Finals, Hypervolume, Ledger, Measured
from spaces.genome import Genome
from workers.evaluation import OK, PROBE, Evaluation, Outcome, Request

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "digits", "limit": 60},
    "network": {"name": "inception", "arguments": {"stem": 4, "widths": [8], "modules": [1]}},
    "space": {"growth": 0},
    "tracking": {"enabled": False},
}
"""The smallest configuration that passes all checks."""


def write_run(folder: Path, finished: bool = True) -> Path:
    """A run of :data:`TINY` in ``folder`` with three evaluations, and measurements where it is finished."""
    config = parse_config({**TINY, "out": str(folder)})
    run = RunFolder(config.folder)
    run.start(config, check(config).space.hash, window=8)
    archive = Archive(run.archive)
    for number in range(3):
        request = Request(number, PROBE, Genome((0,), 1.0, (0.5,), ((1.0,),)), "evolution")
        archive.append([Evaluation(request, Outcome(number, OK, metrics={"accuracy": 0.5, "params": 100 + number}))])
    archive.close()
    if finished:
        run.report.mkdir()
        (run.report / "measurements.json").write_text(json.dumps(_finals().to_json()))
    return run.path


def _finals() -> Finals:
    base = _measured("base", 4000, 0.95)
    front = (_measured("aaaaaaaaaaaa", 300, 0.7), _measured("bbbbbbbbbbbb", 900, 0.9))
    return Finals(
        name="tiny",
        seed=0,
        strategy="evolution",
        data=DataSet("digits", 48, 12, 360, (1, 8, 8), tuple("0123456789")),
        cost="params",
        budget={},
        base=base,
        front=front,
        chosen="bbbbbbbbbbbb",
        chosen_test=(0.9,),
        controls=(),
        verdicts=(),
        hypervolume=Hypervolume(0.5, 0.5),
        ledger=Ledger(1.0, 1.0, 1.0, 0.0, 1, 0, {}, math.nan, 3.0),
        environment=Environment("2", "3", "cpu", 1),
    )


def _measured(name: str, params: int, accuracy: float) -> Measured:
    return Measured(name, "evolution", (0,), params, 50 * params, 4 * params, accuracy, accuracy)
