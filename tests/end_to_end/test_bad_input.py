"""Bad configurations, data, checkpoints and run folders: refused by name, before any work, with nothing left behind."""

from __future__ import annotations

import datetime
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
import yaml
from hand_made_runs import TINY, write_run
from PIL import Image
from safetensors.torch import save_file

import search.survey
from search.cli import _guarded, app
from spaces.networks import NetworkSpec, build_network

Setup = Callable[[Path], object]
Changes = dict[str, Any]

OWN = """
import os, signal, sys, time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=1, classes=10, width=8):
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))

class Pair(Net):
    def forward(self, x):
        return super().forward(x), x

class Nan(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")

class OneRow(Net):
    def forward(self, x):
        return super().forward(x).sum(0)

class Raising(Net):
    def forward(self, x):
        raise RuntimeError("first line\\nsecond line")

class Untrainable(Net):
    def forward(self, x):
        if self.training:
            raise RuntimeError("not in training")
        return super().forward(x)

def plain(shape, classes): return Net(shape[0], classes)
def pair(classes): return Pair(1, classes)
def nan(classes): return Nan(1, classes)
def one_row(classes): return OneRow(1, classes)
def raising_forward(classes): return Raising(1, classes)
def untrainable(classes): return Untrainable(1, classes)
def more_classes(classes): return Net(1, classes + 1)
def raising(classes): raise RuntimeError("first line\\nsecond line")
def exiting(classes): sys.exit(0)
def nothing(classes): return None
def demanding(width): return Net(1, 10, width)
def empty(classes): return nn.Flatten()
def only_linear(classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
def hanging(classes): time.sleep(1e6)
def killing(classes): os.kill(os.getpid(), signal.SIGKILL)
def leaving(classes): os._exit(0)
def greedy(classes):
    eaten = []
    while True:
        eaten.append(bytearray(2**28))

number = 3
def bad_scores(group, evidence, generator): return torch.ones(group.size + 1)
def raising_scores(group, evidence, generator): raise RuntimeError("no score")
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``finished/tiny`` and ``unfinished/tiny``, to be copied."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "finished")
    write_run(folder / "unfinished", finished=False)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where no cluster may be started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for module in ("own", "broken_module", "raising_module", "exiting_module"):
        sys.modules.pop(module, None)

    def no_cluster(*_: Any, **__: Any) -> None:
        pytest.fail("a cluster was started")

    monkeypatch.setattr(ray, "init", no_cluster)
    return tmp_path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users' networks are tried in this process: a fresh one for each case would take seconds."""
    opened = search.survey._open
    monkeypatch.setattr(search.survey, "_open", lambda apart, *rest: opened(False, *rest))


Refuse = Callable[..., str]


@pytest.fixture
def refuse(place: Path, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """Runs a command that must be refused: exit code 2, one line on stderr, nothing else; the line."""

    def run(*arguments: str, lines: int = 1) -> str:
        before = _files(place)
        capfd.readouterr()
        code = _guarded(lambda: app(list(arguments), standalone_mode=False))
        out, err = capfd.readouterr()
        assert code == 2, err
        assert out == ""
        assert _files(place) == before
        assert "Traceback" not in err
        told = [line for line in err.splitlines() if line.strip()]
        assert len(told) == lines, err
        return "\n".join(told)

    return run


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def write_config(place: Path, changes: Changes) -> None:
    """``config.yaml``: :data:`TINY` with whole settings replaced."""
    content: Changes = json.loads(json.dumps(TINY))
    for name, value in changes.items():
        section, _, setting = name.partition(".")
        if setting:
            content.setdefault(section, {})[setting] = value
        else:
            content[section] = value
    (place / "config.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))


def search_refused(refuse: Refuse, place: Path, changes: Changes, *arguments: str, lines: int = 1) -> str:
    write_config(place, changes)
    return refuse("search", "config.yaml", "--quiet", *arguments, lines=lines)


NO_SETTINGS: dict[str, tuple[bytes, str]] = {
    "nothing in it": (b"", "found nothing"),
    "a list": (b"- a\n- b\n", "found a list"),
    "a word": (b"hello", "found a str"),
    "a bracket left open": (b"name: [1\n", "line 2"),
    "binary": (bytes(range(256)), "not a text file"),
    "UTF-16": ("name: x".encode("utf-16"), "not a text file"),
    "nested without end": (b"[" * 5000, "not usable as YAML"),
    "a Python object": (b"name: !!python/object/apply:os.system [echo]\n", "line 1"),
    "two documents": (b"name: a\n---\nname: b\n", "not usable as YAML"),
    "a key twice": (b"name: a\nseed: 1\nname: b\ndata: {source: digits}\n", "line 3, column 1: 'name' stands twice"),
    "a key twice, deep": (b"name: a\ndata: {source: digits, limit: 3, limit: 4}\n", "'limit' stands twice"),
    "a number for a key": (b"1: 2\nname: a\ndata: {source: digits}\n", "1: names of settings must be text"),
}


@pytest.mark.parametrize("kind", NO_SETTINGS)
def test_files_that_hold_no_settings(kind: str, refuse: Refuse, place: Path) -> None:
    content, wanted = NO_SETTINGS[kind]
    (place / "config.yaml").write_bytes(content)
    message = refuse("search", "config.yaml")
    assert message.startswith("niwaki: config.yaml: ")
    assert wanted in message


@pytest.mark.parametrize("path", ["absent.yaml", ".", "absent/config.yaml", "a" * 300])
def test_configurations_that_cannot_be_read(path: str, refuse: Refuse) -> None:
    message = refuse("search", path)
    assert message.startswith(f"niwaki: {path}: cannot be read (")


SETTINGS: dict[str, tuple[Changes, str]] = {
    "an unknown section": ({"dat": {}}, "dat: no such setting; did you mean data?"),
    "an unknown setting": ({"search.probs": 3}, "search.probs: no such setting; did you mean search.probes?"),
    "a setting of a section": ({"epochs": 3}, "epochs: no such setting; did you mean base_training.epochs?"),
    "no data": ({"data": {}}, "data.source: is required"),
    "a word for a number": ({"search.probes": "many"}, "search.probes: must be a whole number, got 'many'"),
    "a fraction for a count": ({"search.probes": 2.5}, "search.probes: must be a whole number, got 2.5"),
    "yes for a number": ({"search.probes": True}, "search.probes: must not be true or false"),
    "a number for yes": ({"training.flip": 3}, "training.flip: must be true or false"),
    "a number for a section": ({"search": 5}, "search: must be a section"),
    "nothing for a section": ({"search": None}, "search: must be a section"),
    "a list for a section": ({"data": ["digits"]}, "data: must be a section"),
    "a word for a list": ({"space.criteria": "l1"}, "space.criteria: must be a list, got 'l1'"),
    "not a number": ({"training.learning_rate": float("nan")}, "training.learning_rate: must be a finite number"),
    "infinity": ({"base_training.weight_decay": float("inf")}, "base_training.weight_decay: must be a finite number"),
    "too small": ({"training.epochs": 0}, "training.epochs: must be greater than or equal to 1, got 0"),
    "too large": ({"training.label_smoothing": 1.5}, "training.label_smoothing: must be less than 1, got 1.5"),
    "a negative seed": ({"seed": -1}, "seed: must be greater than or equal to 0"),
    "an unknown format": ({"export.formats": ["onx"]}, "export.formats.0: must be 'onnx' or 'torch', got 'onx'"),
    "no criteria": ({"space.criteria": []}, "space.criteria: "),
    "a recipe twice": ({"controls.recipes": ["bar", "bar"]}, "controls.recipes: ['bar', 'bar'] names a recipe twice"),
    "a criterion twice": ({"space.criteria": ["l1", "l1"]}, "space.criteria: ['l1', 'l1'] names a criterion twice"),
    "more rounds than trainings": ({"search.rounds": 13}, "search.rounds (13) cannot exceed search.trainings (12)"),
    "more trainings than probes": ({"search.probes": 11}, "search.trainings (12) cannot exceed search.probes (11)"),
    "a slash in the name": ({"name": "a/b"}, "name: must be letters, digits"),
    "a name of another folder": ({"name": ".."}, "name: must be letters, digits"),
    "a name beyond measure": ({"name": "a" * 300}, "name: string should have at most 100 characters"),
    "a number for a name": ({"name": 5}, "name: must be text"),
    "arguments that no file can hold": (
        {"network.arguments": {"start": datetime.date(2020, 1, 1)}},
        "network.arguments: must be plain",
    ),
    "a model name that MLflow refuses": ({"export.register_as": "a/b"}, "export.register_as: "),
    "an alias that MLflow refuses": ({"export.alias": "v1"}, "export.alias: "),
    **{
        f"a budget of {value!r}": ({"budget.params": value}, "budget.params: ")
        for value in ("1/0", "-3", "150%", "0%", "inf%", "1e400", "nan", "lots", 0, 2.5, True, [1], float("inf"))
    },
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings(kind: str, refuse: Refuse, place: Path) -> None:
    changes, wanted = SETTINGS[kind]
    message = search_refused(refuse, place, changes)
    assert message.startswith("niwaki: config.yaml: ")
    assert wanted in message


def test_an_unknown_strategy(refuse: Refuse, place: Path) -> None:
    message = search_refused(refuse, place, {"search.strategy": "evolutoin"})
    assert message == "niwaki: search.strategy: there is no 'evolutoin'; did you mean 'evolution'?"


def test_every_fault_gets_its_line(refuse: Refuse, place: Path) -> None:
    told = search_refused(refuse, place, {"seed": "a", "search.probs": 1, "budget.macs": 0}, lines=3)
    assert all(name in told for name in ("seed: ", "search.probs: ", "budget.macs: "))


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("search.probes", "--set search.probes: must look like"),
        ("=3", "--set =3: must look like"),
        ("search..probes=3", "--set search..probes=3: must look like"),
        ("search.probes=[1", "--set search.probes=[1: not usable as YAML"),
        ("search.probes=", "search.probes: must be a whole number, got None"),
        ("name.first=1", "--set name.first=1: 'name' is a value, not a section"),
        ("serch.probes=3", "serch: no such setting; did you mean search?"),
    ],
)
def test_overrides(override: str, wanted: str, refuse: Refuse, place: Path) -> None:
    assert wanted in search_refused(refuse, place, {}, "--set", override)


FITTING: dict[str, tuple[Changes, str]] = {
    "an unknown criterion": (
        {"space.criteria": ["taylr"]},
        "space.criteria: no criterion is called 'taylr'; did you mean 'taylor'",
    ),
    "a criterion's module": ({"space.criteria": ["absent:f"]}, "space.criteria: cannot import 'absent'"),
    "a criterion's function": ({"space.criteria": ["own:absent"]}, "space.criteria: 'own' has no callable 'absent'"),
    "a criterion of wrong shape": (
        {"space.criteria": ["own:bad_scores"]},
        "space.criteria: criterion 'own:bad_scores'",
    ),
    "a criterion that raises": ({"space.criteria": ["own:raising_scores"]}, "raised RuntimeError: no score"),
    "a network's name": (
        {"network.name": "rsnet18"},
        "network.name: no network is called 'rsnet18'; did you mean 'resnet18'?",
    ),
    "a network's argument": ({"network.arguments": {"depth": 3}}, "network.arguments: inception refuses {'depth': 3}"),
    "a network's argument type": ({"network.arguments": {"stem": "4"}}, "network.arguments: inception refuses"),
    "a network beyond memory": ({"network.arguments": {"widths": [10**9], "modules": [1]}}, "network.arguments: "),
    "a torchvision argument": (
        {"network.name": "resnet18", "network.arguments": {"nope": 1}},
        "network.arguments: torchvision's resnet18 refuses {'nope': 1}",
    ),
    "images too small": (
        {"network.name": "alexnet", "network.arguments": {}},
        "network.name: 'alexnet' fails on images of shape [1, 8, 8]",
    ),
    "an unknown layer to keep": ({"network.keep": ["stemm.*"]}, "network.keep: 'stemm.*' matches no"),
    "everything kept": ({"network.keep": ["*"]}, "network.name: 'inception' has no channels that may be removed"),
    "too many growths": (
        {"network.arguments": {"stem": 4, "widths": [8] * 7, "modules": [1] * 7}, "space.growth": 1},
        "space.growth: 1 makes 128 growths",
    ),
    "a budget that takes nothing from blends alone": (
        {"budget.params": 1.0, "space.blend": "paper"},
        "budget: the whole base network meets it, so space.blend: paper would remove nothing",
    ),
    "a budget that cannot be met": ({"budget.params": 10}, "budget: params ≤ 10 was asked, the least possible is 106"),
    "a share that cannot be met": (
        {"budget.macs": "1/100000"},
        "budget: macs ≤ 0 was asked, the least possible is 2,600",
    ),
    "a folder that is a file": ({"out": "own.py"}, "out: "),
    "a run that is a file": ({"out": ".", "name": "own.py"}, "name: "),
    "a GPU that is not there": (
        {"cluster.gpus_per_worker": 64},
        "cluster.gpus_per_worker: 64 is asked and this machine has",
    ),
    "a tracking store of no kind": (
        {"tracking.enabled": True, "tracking.uri": "nonsense://x"},
        "tracking.uri: MLflow has no store",
    ),
    "a tracking store of files": (
        {"tracking.enabled": True, "tracking.uri": "file:mlruns"},
        "tracking.uri: MLflow has no store",
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", FITTING)
def test_settings_that_do_not_fit(kind: str, refuse: Refuse, place: Path) -> None:
    changes, wanted = FITTING[kind]
    (place / "own.py").write_text(OWN)
    assert wanted in search_refused(refuse, place, changes)


FACTORIES: dict[str, str] = {
    "absent:build": "cannot import 'absent'",
    "own:absent": "'own' has no callable 'absent'",
    "own:number": "'own' has no callable 'number'",
    "own:": "'own' has no callable ''",
    ":plain": "cannot import ''",
    "broken_module:f": "cannot import 'broken_module' (SyntaxError",
    "raising_module:f": "cannot import 'raising_module' (ZeroDivisionError",
    "exiting_module:f": "cannot import 'exiting_module' (SystemExit",
    "own:raising": "factory 'own:raising' raised RuntimeError: first line second line",
    "own:exiting": "factory 'own:exiting' raised SystemExit",
    "own:nothing": "factory 'own:nothing' returned NoneType, not a torch.nn.Module",
    "own:demanding": "missing 1 required positional argument: 'width'",
    "own:more_classes": "returns shape [2, 11] for 2 images; it must be [2, 10]",
    "own:one_row": "returns shape [10] for 2 images; it must be [2, 10]",
    "own:pair": "returns tuple",
    "own:nan": "not finite",
    "own:raising_forward": "fails on images of shape [1, 8, 8] (RuntimeError: first line second line)",
    "own:untrainable": "fails in training (RuntimeError: not in training)",
    "own:empty": "has no parameters",
    "own:only_linear": "has no channels that may be removed",
    "torch.nn:Identity": "has no parameters",
    "builtins:dict": "returned dict, not a torch.nn.Module",
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", FACTORIES)
def test_factories(name: str, refuse: Refuse, place: Path) -> None:
    write_modules(place)
    message = search_refused(refuse, place, {"network": {"name": name}})
    assert message.startswith("niwaki: network.name: ")
    assert FACTORIES[name] in message


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("own:hanging", "still at work after 1 s"),
        ("own:killing", "was ended by SIGKILL"),
        ("own:leaving", "exited with code 0"),
        ("own:greedy", "MemoryError"),
    ],
)
def test_factories_that_would_take_the_driver_with_them(
    name: str, wanted: str, refuse: Refuse, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.survey, "BUILD_SECONDS", 1.0 if "hanging" in name else 60.0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**31))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    write_modules(place)
    message = search_refused(refuse, place, {"network": {"name": name}})
    assert message.startswith("niwaki: network.name: ")
    assert repr(name) in message
    assert wanted in message


def write_modules(place: Path) -> None:
    (place / "own.py").write_text(OWN)
    (place / "broken_module.py").write_text("def f(:\n")
    (place / "raising_module.py").write_text("1 / 0\n")
    (place / "exiting_module.py").write_text("raise SystemExit(0)\n")


def fill_folder(folder: Path, classes: str = "ab", count: int = 6) -> None:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / name / f"{i}.png")


def cut_image(place: Path) -> None:
    fill_folder(place / "images")
    file = place / "images" / "b" / "3.png"
    file.write_bytes(file.read_bytes()[:60])


def text_image(place: Path) -> None:
    fill_folder(place / "images")
    (place / "images" / "b" / "3.png").write_text("not an image")


def stray_image(place: Path) -> None:
    fill_folder(place / "images")
    Image.new("L", (8, 8)).save(place / "images" / "stray.png")


def two_folders(place: Path) -> None:
    fill_folder(place / "images")
    fill_folder(place / "other", "az")


def images(classes: str = "ab", count: int = 6) -> Setup:
    return lambda place: fill_folder(place / "images", classes, count)


def nothing(place: Path) -> None: ...


FOLDERS: dict[str, tuple[Setup, Changes, str]] = {
    "an unknown name": (
        nothing,
        {"source": "digts"},
        "data.source: 'digts' is no known data set and no path that exists; the nearest name is 'digits'",
    ),
    "no folder": (nothing, {"source": "no/folder"}, "data.source: no/folder: no such file or folder"),
    "no path at all": (nothing, {"source": "a" * 5000}, "data.source: aaa"),
    "no source": (nothing, {"source": " "}, "data.source is empty"),
    "a Python file": (
        lambda place: (place / "own.py").write_text(OWN),
        {"source": "own.py"},
        "own.py: not a readable Parquet file",
    ),
    "an empty folder": (lambda place: (place / "images").mkdir(), {}, "images: the folder holds no images"),
    "one class": (images("a"), {}, "images: there is only one class, 'a'"),
    "an empty class": (
        lambda p: (fill_folder(p / "images"), (p / "images" / "c").mkdir()),
        {},
        "class 'c' has no training image",
    ),
    "few images": (images(count=2), {}, "has fewer than 3 images"),
    "an image cut short": (cut_image, {}, "images/b/3.png: the image is broken"),
    "a text for an image": (text_image, {}, "images/b/3.png: the image is broken"),
    "an image in no class": (stray_image, {}, "images/stray.png: this image is in no class folder"),
    "other classes in test": (two_folders, {"test": "other"}, "other: class 'z' is not among the training classes"),
    "no test folder": (images(), {"test": "no/folder"}, "data.test: no/folder: no such file or folder"),
    "training images for test": (images(), {"test": "images"}, "data.test is 'images', the training images themselves"),
    "no size": (images(), {"size": 0}, "data.size: must be greater than or equal to 1"),
    "a size beyond memory": (images(), {"size": 10**6}, "data.size 1000000 × 1000000: 8 images take"),
    "a small limit": (images(), {"limit": 3}, "data.limit 3 is too small"),
    "nothing left to train on": (
        images(),
        {"validation_fraction": 0.6, "test_fraction": 0.4},
        "leave nothing to train on",
    ),
    "another task's set": (
        nothing,
        {"source": "CelebA"},
        "CelebA: this torchvision set is not a plain classification set",
    ),
    "a set that is not there": (
        nothing,
        {"source": "CIFAR10", "download": False},
        "CIFAR10: torchvision could not read its train split",
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_and_names_of_data(kind: str, refuse: Refuse, place: Path) -> None:
    setup, changes, wanted = FOLDERS[kind]
    setup(place)
    message = search_refused(refuse, place, {"data": {"source": "images", **changes}})
    assert "niwaki: data" in message or "config.yaml: data" in message
    assert wanted in message


@pytest.mark.parametrize("root", ["fresh/root", "kept"])
def test_a_download_that_fails_leaves_nothing(
    root: str, refuse: Refuse, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    (place / "kept" / "mine").mkdir(parents=True)
    message = search_refused(refuse, place, {"data": {"source": "MNIST", "root": root}})
    assert f"MNIST: torchvision could not read or download its train split in root '{root}'" in message


def write_parquet(
    place: Path, labels: Any = None, kind: Any = None, columns: Any = ("image", "label"), **how: Any
) -> None:
    rng = np.random.default_rng(0)
    content = []
    for _ in range(24):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(file, "PNG")
        content.append({"bytes": file.getvalue(), "path": None})
    if "broken" in how:
        content[how["broken"]]["bytes"] = content[how["broken"]]["bytes"][:40]
    labels = [0, 1] * 12 if labels is None else labels
    pixels = pa.array(content[: len(labels)], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": pixels, "label": pa.array(labels, kind)}).select(list(columns))
    pq.write_table(table.replace_schema_metadata(how.get("metadata")), place / "x.parquet")


def half_parquet(place: Path) -> None:
    write_parquet(place)
    content = (place / "x.parquet").read_bytes()
    (place / "x.parquet").write_bytes(content[: len(content) // 2])


def damaged_parquet(place: Path) -> None:
    write_parquet(place)
    content = bytearray((place / "x.parquet").read_bytes())
    content[300:900] = b"\xff" * 600
    (place / "x.parquet").write_bytes(content)


def damaged_labels(place: Path) -> None:
    write_parquet(place)
    start = pq.ParquetFile(place / "x.parquet").metadata.row_group(0).column(2).data_page_offset
    content = bytearray((place / "x.parquet").read_bytes())
    content[start : start + 20] = b"\xff" * 20
    (place / "x.parquet").write_bytes(content)


def parquet(**how: Any) -> Setup:
    return lambda place: write_parquet(place, **how)


PARQUETS: dict[str, tuple[Setup, str]] = {
    "absent": (nothing, ": no such file or folder"),
    "text": (lambda place: (place / "x.parquet").write_text("x"), ": not a readable Parquet file"),
    "half of it": (half_parquet, ": not a readable Parquet file"),
    "damaged within": (damaged_parquet, ", row 0: the image is broken"),
    "damaged labels": (damaged_labels, ": column 'label' cannot be read"),
    "no images": (parquet(columns=["label"]), ": no column 'image', only label"),
    "no labels": (parquet(columns=["image"]), ": no column 'label', only image"),
    "words for labels": (parquet(labels=["a", "b"] * 12), ": column 'label' is of type string"),
    "a null label": (parquet(labels=[0, None] * 12), ", row 1: label is null"),
    "a negative label": (parquet(labels=[0, -1] * 12), ", row 1: label -1 is out of range"),
    "a label beyond": (
        parquet(labels=[0, 1, 2] * 8, metadata={"class_names": '["a", "b"]'}),
        ", row 2: label 2 is out of range",
    ),
    "a label left out": (parquet(labels=[0, 5] * 12), ": label 1 has no training image but label 5 has"),
    "a label beyond int64": (parquet(labels=[0, 2**63] * 12, kind=pa.uint64()), ": column 'label' does not fit int64"),
    "a broken image": (parquet(broken=7), ", row 7: the image is broken"),
    "no rows": (parquet(labels=[], kind=pa.int64()), ": the file holds no rows"),
    "one class": (parquet(labels=[0] * 24), ": there is only one class, '0'"),
    "few of a class": (parquet(labels=[0] * 22 + [1] * 2), ": class '1 (2)' has fewer than 3 images"),
    "class names that are none": (
        parquet(metadata={"class_names": "nonsense"}),
        ": metadata key 'class_names' is not JSON",
    ),
}


@pytest.mark.parametrize("kind", PARQUETS)
def test_parquet_files(kind: str, refuse: Refuse, place: Path) -> None:
    setup, wanted = PARQUETS[kind]
    setup(place)
    message = search_refused(refuse, place, {"data": {"source": "./x.parquet"}})
    assert message.startswith("niwaki: data")
    assert f"x.parquet{wanted}" in message


def good_weights() -> dict[str, torch.Tensor]:
    spec = NetworkSpec("inception", (1, 8, 8), 10, TINY["network"]["arguments"])
    return {name: tensor.clone() for name, tensor in build_network(spec).state_dict().items()}


def changed_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        tensors = good_weights()
        change(tensors)
        save_file(tensors, path)

    return write


def half_weights(path: Path) -> None:
    save_file(good_weights(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (nothing, "no such file"),
    "a folder": (lambda path: path.mkdir(), "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "cut short or damaged"),
    "half of it": (half_weights, "cut short or damaged"),
    "a text": (lambda path: path.write_text("these are no weights"), "not a safetensors file"),
    "a header beyond measure": (
        lambda path: path.write_bytes(struct.pack("<Q", 2**60) + b"{}"),
        "not a safetensors file",
    ),
    "a pickle": (lambda path: torch.save(good_weights(), path), "a pickled file (torch.save), not safetensors"),
    "an old pickle": (
        lambda path: torch.save(good_weights(), path, _use_new_zipfile_serialization=False),
        "a pickled file (torch.save), not safetensors",
    ),
    "another network's": (
        changed_weights(lambda t: t.update({"classifier.weight": torch.zeros(10, 99)})),
        "'classifier.weight' is [10, 99] in the file and [10, 8] in the network",
    ),
    "a tensor missing": (changed_weights(lambda t: t.pop("classifier.bias")), "'classifier.bias' is missing"),
    "a tensor too many": (changed_weights(lambda t: t.update(extra=torch.zeros(1))), "'extra' is not of this network"),
    "not numbers": (
        changed_weights(lambda t: t["classifier.bias"].fill_(float("nan"))),
        "'classifier.bias' holds values",
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights(kind: str, refuse: Refuse, place: Path) -> None:
    write, wanted = WEIGHTS[kind]
    write(place / "base.safetensors")
    message = search_refused(refuse, place, {"network.weights": "base.safetensors"})
    assert message.startswith("niwaki: network.weights: base.safetensors: ")
    assert wanted in message


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def first_journal_line(run: Path) -> None:
    (journal,) = (run / "archive").glob("*journal-*")
    journal.write_bytes(b"00000000 {}\n" + journal.read_bytes())


def without_journal_rows(run: Path) -> None:
    (journal,) = (run / "archive").glob("*journal-*")
    journal.write_bytes(b"")


def without_journal(run: Path) -> None:
    (journal,) = (run / "archive").glob("*journal-*")
    journal.unlink()
    flip_byte(next((run / "archive").glob("part-*")))


def edit_record(**changes: Any) -> Setup:
    def edit(run: Path) -> None:
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, **changes}))

    return edit


RESUMED: dict[str, tuple[Setup, str]] = {
    "gone": (lambda run: shutil.rmtree(run), "tiny: no run there"),
    "without a record": (lambda run: (run / "run.json").unlink(), "tiny: no run there"),
    "a record cut short": (lambda run: cut(run / "run.json"), "run.json: damaged"),
    "a record of something else": (lambda run: (run / "run.json").write_text("[1]"), "run.json: damaged"),
    "a record with a wrong type": (edit_record(window="8"), "run.json: damaged (window: "),
    "a record without window": (edit_record(window=0), "run.json: damaged (window: "),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), "config.yaml: cannot be read"),
    "a configuration in bytes": (
        lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe"),
        "config.yaml: not a text file",
    ),
    "half a configuration": (lambda run: (run / "config.yaml").write_text("name: tiny\ndata:"), "config.yaml: data: "),
    "another space": (edit_record(space="0" * 16), "tiny: the search space is not the one"),
    "a damaged journal": (first_journal_line, "_journal-000000000.jsonl: line 1 is damaged"),
    "a journal that lost its rows": (without_journal_rows, "_journal-000000000.jsonl: damaged: it holds 0 rows"),
    "a damaged part": (without_journal, "part-000000000.parquet: damaged"),
}


@pytest.mark.parametrize("kind", RESUMED)
def test_resuming_a_damaged_run(kind: str, refuse: Refuse, place: Path, runs: Path) -> None:
    shutil.copytree(runs / "unfinished", place / "runs")
    damage, wanted = RESUMED[kind]
    damage(place / "runs" / "tiny")
    assert wanted in refuse("resume", "runs/tiny", "--quiet")


def test_a_name_that_is_taken(refuse: Refuse, place: Path, runs: Path) -> None:
    shutil.copytree(runs / "unfinished", place / "runs")
    message = search_refused(refuse, place, {"seed": 1})
    assert "name: runs/tiny holds a run with another configuration; choose another name (--set name=…)" in message


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--format", "tflite"], "--format tflite: unknown, use onnx or torch"),
        (["--max-params", "10"], "no network of the front fits; its smallest and its most accurate: aaaaaaaaaaaa"),
        (["--candidate", "bbbbbbbbbbbc"], "--candidate bbbbbbbbbbbc: not in the front; did you mean bbbbbbbbbbbb?"),
        (["--to", "absent/x.onnx"], "--to absent/x.onnx: there is no folder"),
        (["--to", "x.txt"], "--to x.txt: a file of format onnx ends in .onnx"),
        (["--to", "x.pt2"], "--to x.pt2: a file of format onnx ends in .onnx"),
        (["--register", "a/b"], "--register: must be a name for MLflow's registry"),
        (["--register", "a", "--alias", "latest"], "--alias: "),
        ([], "weights/bbbbbbbbbbbb.safetensors: no such file"),
    ],
)
def test_exports(arguments: list[str], wanted: str, refuse: Refuse, place: Path, runs: Path) -> None:
    shutil.copytree(runs / "finished", place / "runs")
    assert wanted in refuse("export", "runs/tiny", *arguments)


@pytest.mark.parametrize("command", ["export", "report"])
def test_a_run_that_is_not_finished(command: str, refuse: Refuse, place: Path, runs: Path) -> None:
    shutil.copytree(runs / "unfinished", place / "runs")
    assert "runs/tiny: the run is not finished; `niwaki resume runs/tiny`" in refuse(command, "runs/tiny")


@pytest.mark.parametrize("command", ["export", "report", "sync"])
def test_damaged_measurements(command: str, refuse: Refuse, place: Path, runs: Path) -> None:
    shutil.copytree(runs / "finished", place / "runs")
    cut(place / "runs" / "tiny" / "report" / "measurements.json")
    assert "runs/tiny/report/measurements.json: " in refuse(command, "runs/tiny")


@pytest.mark.parametrize("command", ["resume", "report", "export", "sync", "compare"])
def test_a_folder_that_is_no_run(command: str, refuse: Refuse, place: Path) -> None:
    (place / "empty").mkdir()
    second = ["empty"] if command == "compare" else []
    assert refuse(command, "empty", *second).startswith("niwaki: empty: no run there; give a folder that")


def test_comparing_a_damaged_archive(refuse: Refuse, place: Path, runs: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(runs / "unfinished", place / name)
    flip_byte(place / "b" / "tiny" / "archive" / "part-000000000.parquet")
    assert "b/tiny/archive/part-000000000.parquet: damaged" in refuse("compare", "a/tiny", "b/tiny")


@pytest.mark.parametrize(
    ("model", "data", "wanted"), [("rsnet", "digits", "network.name: "), ("inception", "x", "data.source: ")]
)
def test_inspecting_what_is_not_there(model: str, data: str, wanted: str, refuse: Refuse) -> None:
    assert refuse("inspect", model, data).startswith(f"niwaki: {wanted}")


def test_ray_client(refuse: Refuse, place: Path) -> None:
    message = search_refused(refuse, place, {}, "--address", "ray://127.0.0.1:10001")
    assert "cannot use Ray Client" in message
    assert "deploy/ray-node worker HEAD:6379 --num-cpus=0" in message


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "no-such-host.invalid:6379"])
def test_an_address_where_no_cluster_listens(address: str, refuse: Refuse, place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = address.format(port=port)
    message = search_refused(refuse, place, {}, "--address", address)
    assert message.startswith(f"niwaki: cluster.address: no Ray cluster at {address} (")


NIWAKI = Path(sys.executable).with_name("niwaki")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["search", "config.yaml"], "images/b/3.png"),
        (["serch"], "No such command 'serch'"),
        (["search", "config.yaml", "--set", "network.name=own:leaving"], "own:leaving"),
    ],
)
def test_as_a_user_sees_it(arguments: list[str], wanted: str, place: Path) -> None:
    cut_image(place)
    write_modules(place)
    source = "digits" if len(arguments) > 2 else "images"
    write_config(place, {"data": {"source": source}, "network": {"name": "inception"}})
    before = _files(place)
    answer = subprocess.run([NIWAKI, *arguments], cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert wanted in answer.stderr
    assert "Traceback" not in answer.stderr
    assert {name: _files(place)[name] for name in _files(place) if "__pycache__" not in name} == before
