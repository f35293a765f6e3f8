"""A candidate comes back from its file alone; every kind of bad file is refused by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spaces.groups import example_input
from spaces.growth import grow_structure
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.surgery import compact
from workers.checkpoint import (
    CandidateFile,
    CheckpointError,
    load_candidate,
    load_tensors,
    load_weights,
    save_candidate,
    save_tensors,
)
from workers.deployed import Deployed

INCEPTION = NetworkSpec("inception", (3, 16, 16), 4, {"stem": 8, "widths": [16, 24], "modules": [1, 1]})


def make_candidate(spec: NetworkSpec, growth: tuple[int, ...] = ()) -> tuple[nn.Module, CandidateFile]:
    """A compact network with random weights and statistics, its kept channels anything but the first."""
    network = build_network(spec, torch.Generator().manual_seed(1))
    if any(growth):
        network = grow_structure(network, growth)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    layout = make_layout(network, example_input(spec.shape))
    kept = {g.name: np.arange(g.size)[-max(1, g.size // 2) :] for g in layout.groups}
    about = CandidateFile(
        spec=spec,
        growth=growth,
        widths={name: len(channels) for name, channels in kept.items()},
        genome='{"any":"text"}',
        class_names=("a", "b", "ü", "d"),
        mean=(0.1, 0.2, 1 / 3),
        std=(0.5, 0.6, 0.7),
        metadata={"accuracy": "0.93"},
    )
    return compact(network, layout, kept).eval(), about


@pytest.mark.parametrize(
    ("spec", "growth"),
    [
        pytest.param(INCEPTION, (), id="inception"),
        pytest.param(INCEPTION, (1, 0), id="grown"),
        pytest.param(NetworkSpec("mobilenet_v2", (3, 32, 32), 4, {"width_mult": 0.25}), (), id="depthwise"),
        pytest.param(NetworkSpec("resnet18", (3, 32, 32), 4, {"num_classes": 4}), (), id="residual"),
    ],
)
def test_a_candidate_comes_back_from_its_file_alone(spec: NetworkSpec, growth: tuple[int, ...], tmp_path: Path) -> None:
    network, about = make_candidate(spec, growth)
    path = tmp_path / "new folder" / "candidate.safetensors"
    save_candidate(path, network, about)
    loaded, described = load_candidate(path)
    images = torch.rand(3, *spec.shape)
    assert described == about
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))
    assert [p.name for p in path.parent.iterdir()] == [path.name], "a temporary file was left behind"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"a": torch.ones(3)})
    with pytest.raises(CheckpointError, match="'b' is str"):
        save_tensors(path, {"a": torch.zeros(3), "b": "text"})  # type: ignore[dict-item]
    network, about = make_candidate(INCEPTION)
    with pytest.raises(CheckpointError, match=r"not plain JSON.*network\.arguments"):
        save_candidate(path, network, replace(about, spec=replace(INCEPTION, arguments={"stem": object()})))
    with pytest.raises(Exception, match=r"metadata|str|argument"):
        save_tensors(path, {"a": torch.zeros(3)}, {"n": 1})  # type: ignore[dict-item]
    assert torch.equal(load_tensors(path)[0]["a"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_of_any_make_come_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tensors = {
        "tied": shared,
        "view": shared[2:],
        "transposed": torch.arange(6).reshape(2, 3).T,
        "expanded": torch.ones(1).expand(4),
        "scalar": torch.tensor(3),
        "state": torch.get_rng_state(),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "channels last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    save_tensors(tmp_path / "t.safetensors", tensors, {"epoch": "3"})
    loaded, metadata = load_tensors(tmp_path / "t.safetensors")
    assert metadata == {"epoch": "3"}
    assert all(
        torch.equal(loaded[name], tensors[name]) and loaded[name].dtype == t.dtype for name, t in tensors.items()
    )
    assert loaded.keys() == tensors.keys()


def test_foreign_safetensors_serve_as_weights_but_not_as_a_candidate(tmp_path: Path) -> None:
    path, network, other = tmp_path / "theirs.safetensors", nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(network.state_dict(), path)
    load_weights(other, path)
    assert torch.equal(other.weight, network.weight)
    with pytest.raises(CheckpointError, match=r"theirs\.safetensors: not a candidate that Niwaki wrote.*Mend: "):
        load_candidate(path)
    with pytest.raises(CheckpointError, match="'bias' is not of this network"):
        load_weights(nn.Linear(3, 2, bias=False), path)
    save_file({"weight": network.weight}, path)
    with pytest.raises(CheckpointError, match=r"'bias' is missing.*'weight' is \[2, 3\] in the file and \[4, 3\]"):
        load_weights(nn.Linear(3, 4), path)


def _cut(path: Path, keep: Callable[[int], int]) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: keep(len(content))])


def _edit(path: Path, version: str = "1", **changes: object) -> None:
    """Change the version in the header, or fields of the description."""
    tensors, header = load_tensors(path)
    about = {**json.loads(header["niwaki_candidate"]), **changes}
    save_tensors(path, tensors, {**header, "niwaki_version": version, "niwaki_candidate": json.dumps(about)})


_SPEC = {"name": "inception", "shape": [3, 16, 16], "classes": 4, "arguments": {}}
SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: p.unlink(), "no such file"),
    "empty": (lambda p: _cut(p, lambda n: 0), "cut short or damaged"),
    "cut in its header": (lambda p: _cut(p, lambda n: 100), "cut short or damaged"),
    "cut in its tensors": (lambda p: _cut(p, lambda n: n - 5), "cut short or damaged"),
    "text": (lambda p: p.write_text("accuracy,params\n0.9,1000\n"), "not a safetensors file"),
    "pickle": (lambda p: torch.save({"a": torch.ones(2)}, p), "pickled file .*never read"),
    "another version": (lambda p: _edit(p, version="99"), "version '99'.*reads version '1'"),
    "damaged description": (lambda p: _edit(p, widths=3), "description of the candidate is damaged"),
    "another shape": (lambda p: _edit(p, widths={"stem.conv": 2}), r"does not fit.*in the file and .*in the network"),
    "unknown group": (lambda p: _edit(p, widths={"root": 2}), "no group 'root'"),
    "too wide": (lambda p: _edit(p, widths={"stem.conv": 2000}), "cannot be built again.*stem.conv"),
    "unknown network": (lambda p: _edit(p, spec={**_SPEC, "name": "incepton"}), "did you mean 'inception'"),
    "foreign code": (
        lambda p: _edit(p, spec={**_SPEC, "name": "os:system", "arguments": {"command": "touch ran"}}),
        "asks to import and call 'os:system'",
    ),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_bad_file_is_refused_with_its_name_and_a_mend(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "candidate.safetensors"
    save_candidate(path, *make_candidate(INCEPTION))
    spoil, message = SPOILED[kind]
    spoil(path)
    with pytest.raises(CheckpointError, match=rf"candidate\.safetensors: .*{message}.*Mend: ") as refusal:
        load_candidate(path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 10_000) + b"{")
    with pytest.raises(CheckpointError, match="cut short"):
        load_tensors(path)


def test_a_factory_is_called_when_the_caller_allows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "garden_nets.py").write_text(
        "from torch import nn\n"
        "def tree(shape, classes, width):\n"
        "    return nn.Sequential(nn.Conv2d(shape[0], width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), nn.Linear(width, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    network, about = make_candidate(NetworkSpec("garden_nets:tree", (3, 8, 8), 4, {"width": 6}))
    save_candidate(tmp_path / "c.safetensors", network, about)
    loaded, _ = load_candidate(tmp_path / "c.safetensors", factories=["garden_nets:tree"])
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded(images), network(images))


def test_deployed_normalises_and_checks_its_statistics() -> None:
    deployed = Deployed(nn.Identity(), (0.5, 0.25), (0.5, 2.0))
    images = torch.ones(1, 2, 1, 1)
    assert deployed(images).flatten().tolist() == [1.0, 0.375]
    assert not deployed.training
    assert not list(deployed.parameters())
    with pytest.raises(ValueError, match="one entry per channel"):
        Deployed(nn.Identity(), (0.5,), (0.5, 2.0))
    with pytest.raises(ValueError, match="greater than 0"):
        Deployed(nn.Identity(), (0.5,), (0.0,))
