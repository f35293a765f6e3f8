"""Candidates that raise, diverge, hang, eat memory or kill their process: one failed row each, and the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from tiny_runs import archive, run_json

from search.loading import load_config
from search.preflight import check
from spaces.genome import Genome
from workers.evaluation import PROBE, TRAIN

pytestmark = pytest.mark.slow

WIDE = 20
"""At this width and beyond, a network of ``TRAPS`` is sound."""

TRAPS = """
import os, time
import torch
from torch import nn

class Trapped(nn.Module):
    def __init__(self, classes, kinds):
        super().__init__()
        self.kinds = kinds
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 24, 3, padding=1)
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        width = self.second.out_channels
        kind = "sound" if width >= 20 else self.kinds[width % len(self.kinds)]
        training = self.training and torch.is_grad_enabled()
        x = self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))
        if kind == "raises" or kind == "raises in training" and training:
            raise RuntimeError("a trap:\\nnarrow")
        if kind == "diverges" or kind == "diverges in training" and training:
            return x * float("nan")
        if kind == "eats":
            return x + torch.ones(2**30).sum()
        if kind == "hangs":
            time.sleep(1e6)
        if kind == "dies":
            os._exit(7)
        return x

def build(classes, kinds):
    return Trapped(classes, kinds)
"""
REASONS = {"raises": "error", "diverges": "nan", "eats": "oom", "hangs": "timeout", "dies": "worker_lost"}
IN_TRAINING = {"raises in training": "error", "diverges in training": "nan"}


def write_search(folder: Path, kinds: list[str], budget: str = "1/2", **search: int) -> Path:
    """A search whose candidates fall into the traps of ``kinds`` by their width; only the base network is wide."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "traps.py").write_text(TRAPS)
    config: dict[str, Any] = {
        "name": "trapped",
        "seed": 213,  # its random candidates fall into every trap, and into the slow ones once
        "data": {"source": "digits", "limit": 200},
        "network": {"name": "traps:build", "arguments": {"kinds": kinds}},
        "base_training": {"epochs": 1},
        "training": {"epochs": 1, "distillation": 0},
        "budget": {"params": budget},
        "space": {"criteria": ["l1"]},
        "search": {"strategy": "random", "probes": 16, "trainings": 6, "rounds": 1, **search},
        "controls": {"enabled": False},
        "tracking": {"enabled": False},
        "limits": {"probe_seconds": 6, "memory_mb": 1024, "retries": 1},
        "cluster": {"workers": 1},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass(frozen=True)
class Finished:
    answer: dict[str, Any]
    table: pa.Table
    kinds: list[str]
    """What each row's candidate does."""


def search(folder: Path, kinds: list[str], monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Finished:
    config = write_search(folder, kinds, **settings)
    answer = run_json(folder, "search", config, path=folder / "elsewhere")
    table = archive(folder / "runs" / "trapped")
    monkeypatch.syspath_prepend(str(folder / "elsewhere"))
    space = check(load_config(config)).space
    place = space.layouts[()].names.index("second")
    widths = [int(space.widths(Genome.from_text(text))[place]) for text in table["genome"].to_pylist()]
    return Finished(answer, table, ["sound" if w >= WIDE else kinds[w % len(kinds)] for w in widths])


def test_each_failure_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["sound", *REASONS, *IN_TRAINING]
    done = search(tmp_path, kinds, monkeypatch)
    rows = done.table.to_pylist()
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert sum(row["stage"] == PROBE for row in rows) == 16
    for row, kind in zip(rows, done.kinds, strict=True):
        reason = REASONS.get(kind, IN_TRAINING.get(kind, "") if row["stage"] == TRAIN else "")
        assert (row["status"], row["reason"]) == ("failed" if reason else "ok", reason), (kind, row)
        assert row["attempts"] == (2 if kind == "dies" else 1)
        assert bool(row["message"]) == bool(reason)
        assert "\n" not in row["message"]
        assert (row["accuracy"] is None) == bool(reason)
    assert set(done.kinds) == set(kinds)
    assert {kind for kind, row in zip(done.kinds, rows, strict=True) if row["stage"] == TRAIN} == {
        "sound",
        *IN_TRAINING,
    }
    assert done.answer["chosen"] in {r["candidate"] for r in rows if r["stage"] == TRAIN and r["status"] == "ok"}
    failures = {r: n for r, n in done.answer["ledger"]["failures"].items() if n}
    assert sum(failures.values()) == sum(row["status"] == "failed" for row in rows)
    assert (tmp_path / "runs" / "trapped" / "report" / "report.html").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["raises", "raises in training"])
def test_a_search_without_any_candidate_ends_well(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = search(tmp_path, [kind], monkeypatch, budget="1/8", probes=6, trainings=2)
    assert "sound" not in done.kinds
    failed = [row for row in done.table.to_pylist() if row["status"] == "failed"]
    assert {(row["stage"], row["reason"]) for row in failed} == {(PROBE if kind == "raises" else TRAIN, "error")}
    assert done.answer["chosen"] is None
    assert done.answer["front"] == []
    assert any("no candidate" in note.lower() for note in done.answer["notes"])
    assert (tmp_path / "runs" / "trapped" / "report" / "report.html").exists()
