"""Searches on other networks and data than the demo's: Parquet, torchvision, a factory of the user's own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_runs import archive, run_json, thorough, write_config

pytestmark = pytest.mark.slow

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(3, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.join = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width * 16, classes)

    def forward(self, x):
        both = torch.cat([self.left(x), self.right(x)], 1)
        both = torch.relu(self.norm(self.join(both)) + both)
        return self.head(nn.functional.adaptive_avg_pool2d(both, 4).view(x.size(0), -1))

def build(classes, width=12):
    return Net(classes, width)
"""


@pytest.fixture
def colour_set(tmp_path: Path) -> Path:
    """Colour images of 16×16 in three classes that differ in hue, in the Hugging Face layout."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        label = i % 3
        pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
        pixels[..., label] += 100
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": f"{i}.png"}, "label": label})
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    path = tmp_path / "hues.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


@pytest.mark.parametrize("network", [*map(thorough, ["resnet18", "googlenet"]), "mine.networks:build"])
def test_a_search_completes(network: str, colour_set: Path, tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "networks.py").write_text(FACTORY)
    config = write_config(
        tmp_path,
        data={"source": str(colour_set)},
        network={"name": network},
        base_training={"epochs": 1},
        training={"epochs": 1},
        search={"probes": 4, "trainings": 1, "rounds": 1, "population": 4},
        controls={"enabled": False},
        tracking={"enabled": False},
        cluster={"workers": 1},
    )
    answer = run_json(tmp_path, "search", config, path=package.parent)
    assert answer["chosen"]
    chosen = next(m for m in answer["front"] if m["candidate"] == answer["chosen"])
    assert chosen["params"] <= answer["base"]["params"] // 4
    assert all(s["difference"] < 1e-4 for s in chosen["sameness"].values())
    assert archive(tmp_path / "runs" / "tiny").num_rows == 5
