"""Networks by name: shapes of images and logits, seeds, and readable refusals."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.networks.factory import load_object
from spaces.networks.inception import Inception, ModuleSpec
from spaces.networks.vision import torchvision_names

NAMES = ("inception", "resnet18", "mobilenet_v2", "googlenet", "squeezenet1_1", "efficientnet_b0", "mnasnet0_5")
MORE = ("alexnet", "densenet121", "inception_v3", "shufflenet_v2_x0_5", "regnet_y_400mf", "convnext_tiny")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (4, 64, 48)])
@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)])
def test_small_images_become_logits(name: str, shape: tuple[int, int, int]) -> None:
    network = build_network(NetworkSpec(name, shape, 7))
    assert not network.training
    with torch.no_grad():
        logits = network(torch.zeros(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.slow
def test_images_too_small_for_a_network_are_refused_with_their_shape() -> None:
    network = build_network(NetworkSpec("vgg11_bn", (1, 28, 28), 7))
    with pytest.raises(ValueError, match=r"VGG cannot be traced .*too small.* images of shape \[1, 28, 28\]"):
        make_layout(network, torch.zeros(2, 1, 28, 28))


def test_stems_keep_the_resolution_of_small_images_only() -> None:
    small, large = (build_network(NetworkSpec("resnet18", (1, side, side), 7)) for side in (32, 64))
    assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))  # type: ignore[union-attr]
    assert isinstance(small.maxpool, nn.Identity)
    assert (large.conv1.kernel_size, large.conv1.stride) == ((7, 7), (2, 2))  # type: ignore[union-attr]
    assert isinstance(large.maxpool, nn.MaxPool2d)


def test_weights_come_from_the_generator_alone() -> None:
    spec = NetworkSpec("inception", (1, 8, 8), 3, {"stem": 4, "widths": [8], "modules": [1]})
    state = torch.get_rng_state()
    first = build_network(spec, torch.Generator().manual_seed(1)).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    again = build_network(spec, torch.Generator().manual_seed(1)).state_dict()
    other = build_network(spec, torch.Generator().manual_seed(2)).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])


def test_only_classification_cnns_are_offered() -> None:
    names = torchvision_names()
    assert {"resnet50", "vgg16_bn", "googlenet", "inception_v3", "mobilenet_v2", "densenet121"} <= set(names)
    assert not [n for n in names if "vit" in n or "swin" in n or "quantized" in n or "rcnn" in n]


def test_inception_has_the_modules_asked_for() -> None:
    spec = NetworkSpec("inception", (3, 16, 16), 5, {"stem": 6, "widths": (8, 20), "modules": (2, 1)})
    network = build_network(spec)
    assert isinstance(network, Inception)
    assert network.specs == ((ModuleSpec.of_width(8),) * 2, (ModuleSpec.of_width(20),))
    assert [ModuleSpec.of_width(w).outputs for w in range(8, 300)] == list(range(8, 300))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet19", {}, "network.name: no network is called 'resnet19'; did you mean 'resnet1"),
        ("zzzz", {}, "no network is called 'zzzz'; known: inception, "),
        ("resnet18", {"depth": 3}, "network.arguments: .*resnet18 refuses .*depth"),
        ("resnet18", {"weights": "NOPE"}, "network.arguments: .*resnet18 refuses .*NOPE"),
        ("inception", {"depth": 3}, "network.arguments: .*inception refuses .*depth"),
        ("inception", {"widths": 64}, "network.arguments: .*inception refuses .*64"),
        ("inception", {"widths": [64], "modules": [1, 1]}, r"network.arguments: widths \[64\] and modules \[1, 1\]"),
        ("inception", {"widths": [4], "modules": [1]}, "network.arguments: widths must be ≥ 8"),
    ],
)
def test_bad_names_and_arguments_are_refused(name: str, arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(NetworkSpec(name, (3, 32, 32), 10, arguments))


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("their_networks")
    monkeypatch.setitem(sys.modules, "their_networks", module)
    return module


def test_factories_get_what_their_signature_names(theirs: types.ModuleType) -> None:
    def make(classes: int, width: int = 4, **rest: object) -> nn.Module:
        assert not rest
        return nn.Linear(width, classes)

    theirs.make = make  # type: ignore[attr-defined]
    network = build_network(NetworkSpec("their_networks:make", (3, 8, 8), 9, {"width": 6}))
    assert isinstance(network, nn.Linear)
    assert network.weight.shape == (9, 6)


def fails(shape: tuple[int, int, int]) -> nn.Module:
    raise RuntimeError(f"no {shape[0]} channels")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (fails, "network.name: factory 'their_networks:make' raised RuntimeError: no 3 channels"),
        (lambda: 3, "network.name: factory 'their_networks:make' returned int, not a torch.nn.Module"),
        (lambda wrong: wrong, "network.name: factory 'their_networks:make' raised TypeError: .*wrong"),
        (dict, "network.name: factory 'their_networks:make' returned dict"),
        (7, "network.name: 'their_networks' has no callable 'make'"),
    ],
)
def test_bad_factories_are_refused(theirs: types.ModuleType, factory: object, message: str) -> None:
    theirs.make = factory  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=message):
        build_network(NetworkSpec("their_networks:make", (3, 8, 8), 9))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.nets:make", "a.b: cannot import 'no_such_package.nets' .*No module named"),
        ("broken_network_file:make", "a.b: cannot import 'broken_network_file' .*NameError"),
        ("misspelt_network_file:make", "a.b: cannot import 'misspelt_network_file' .*SyntaxError"),
        ("torch.nn:NoSuch", "a.b: 'torch.nn' has no callable 'NoSuch'"),
        ("torch.nn:", "a.b: 'torch.nn' has no callable ''"),
        ("torch.nn", "a.b: 'torch.nn' has no callable ''"),
        (":make", "a.b: cannot import ''"),
        (".nets:make", "a.b: cannot import '.nets'"),
    ],
)
def test_objects_that_cannot_be_loaded(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_network_file.py").write_text("undefined")
    (tmp_path / "misspelt_network_file.py").write_text("def make(:")
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_object(name, "a.b")


def test_the_working_directory_is_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "network_of_this_folder.py").write_text("def make(): return 5")
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    assert load_object("network_of_this_folder:make", "a.b")() == 5
    del sys.modules["network_of_this_folder"]
