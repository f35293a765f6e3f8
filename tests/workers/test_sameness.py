"""Sameness holds for what surgery and export make, and fails for anything else."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spaces.groups import example_input
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.surgery import compact, expand
from workers.checkpoint import CandidateFile, save_candidate
from workers.deployed import Deployed
from workers.export import export_onnx, export_program
from workers.measure.sameness import Comparison, Sameness, compare, prove_sameness

SPEC = NetworkSpec("inception", (1, 12, 12), 3, {"stem": 6, "widths": [8, 12], "modules": [1, 1]})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, nn.Module, Path]:
    """A compact network whose weights moved after surgery, its masked twin, and its files."""
    folder = tmp_path_factory.mktemp("candidate")
    base = build_network(SPEC)
    layout = make_layout(base, example_input(SPEC.shape))
    kept = {g.name: np.arange(0, g.size, 2) for g in layout.groups}
    small = compact(base, layout, kept)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in small.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.3 * torch.rand(tensor.shape, generator=generator)
    twin = expand(small, base, layout, kept)
    about = CandidateFile(
        SPEC, widths={name: len(channels) for name, channels in kept.items()}, mean=(0.4,), std=(0.3,)
    )
    save_candidate(folder / "c.safetensors", small, about)
    deployed = Deployed(small, about.mean, about.std)
    export_onnx(deployed, torch.rand(2, *SPEC.shape), folder / "c.onnx")
    export_program(deployed, torch.rand(2, *SPEC.shape), folder / "c.pt2")
    return small, twin, folder


def test_all_forms_of_a_candidate_agree(trained: tuple[nn.Module, nn.Module, Path]) -> None:
    small, twin, folder = trained
    small.train()
    images = torch.rand(16, *SPEC.shape)
    proof = prove_sameness(small, twin, folder / "c.safetensors", folder / "c.onnx", folder / "c.pt2", images)
    assert [c.name for c in proof.comparisons] == ["masked", "reloaded", "onnx", "program"]
    assert proof.passes(1e-5), str(proof)
    assert proof.metrics["same_reloaded"] == 0.0
    assert proof.metrics["agree_onnx"] == 1.0
    assert proof.images == 16
    assert small.training, "the network's mode was changed"
    small.eval()


def test_each_broken_form_is_found(trained: tuple[nn.Module, nn.Module, Path]) -> None:
    small, twin, folder = trained
    images = torch.rand(4, *SPEC.shape)
    weights = folder / "c.safetensors"

    def nudged(network: nn.Module) -> nn.Module:
        other = copy.deepcopy(network)
        last = other.get_submodule("classifier")
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias[0] += 5.0
        return other

    wrong_twin = prove_sameness(small, nudged(twin), weights, None, None, images)
    assert [c.name for c in wrong_twin.comparisons if c.difference > 1e-3] == ["masked"]
    wrong_files = prove_sameness(nudged(small), nudged(twin), weights, folder / "c.onnx", folder / "c.pt2", images)
    assert [c.name for c in wrong_files.comparisons if c.difference > 1e-3] == ["reloaded", "onnx", "program"]
    assert not wrong_files.passes(1e-3)


def test_differences_are_relative_to_large_logits_only() -> None:
    ours = np.array([[1.0, 100.0], [3.0, 2.0]])
    assert compare("x", ours, ours + np.array([[0.0, 1.0], [0.0, 0.0]])) == Comparison("x", 0.01, 1.0)
    small = np.array([[0.1, 0.2]])
    swapped = compare("x", small, np.array([[0.3, 0.2]]))
    assert swapped.difference == pytest.approx(0.2)
    assert swapped.agreement == 0.0


BAD = [np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]]), np.ones((1, 3)), np.ones((2, 2))]


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_compared_is_infinitely_different(bad: np.ndarray) -> None:
    for pair in ((np.ones((1, 2)), bad), (bad, np.ones((1, 2)))):
        comparison = compare("x", *pair)
        assert comparison == Comparison("x", float("inf"), 0.0)
        assert not Sameness((comparison,), 1).passes(1e9)


def test_nothing_compared_passes_nothing() -> None:
    assert not Sameness((), 0).passes(1e9)
    with pytest.raises(ValueError, match="no images"):
        prove_sameness(nn.Identity(), nn.Identity(), Path("none"), None, None, torch.zeros(0, 1, 2, 2))
