"""Scores on disk: found again for the same content, and for no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from workers.batches import Tensors
from workers.score_cache import Scores, cached_scores, content_key

SPEC = NetworkSpec("inception", (1, 8, 8), 10, {"stem": 8, "widths": [8, 8], "modules": [1, 1]})
CRITERIA = ("l1", "taylor")


def network() -> torch.nn.Module:
    return build_network(SPEC, torch.Generator().manual_seed(0))


LAYOUT: Layout = make_layout(network(), torch.zeros(2, 1, 8, 8))


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Scores:
        self.calls += 1
        rng = np.random.default_rng(self.calls)
        return {group.name: rng.random((len(CRITERIA), group.size)) for group in LAYOUT.groups}


def test_scores_come_back_to_the_bit_without_being_measured_again(tmp_path: Path) -> None:
    score = Counting()
    first, second = (cached_scores(tmp_path, "key", LAYOUT, CRITERIA, score) for _ in range(2))
    assert score.calls == 1
    assert all((first[name] == second[name]).all() and second[name].dtype == np.float64 for name in first)
    assert first.keys() == second.keys()


@pytest.mark.parametrize("damage", [b"", b"no tensors at all"])
def test_a_damaged_file_is_scored_and_written_again(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    score = Counting()
    cached_scores(tmp_path, "key", LAYOUT, CRITERIA, score)
    (tmp_path / "key.safetensors").write_bytes(damage)
    again = cached_scores(tmp_path, "key", LAYOUT, CRITERIA, score)
    assert score.calls == 2
    assert "scored again" in caplog.text
    kept = cached_scores(tmp_path, "key", LAYOUT, CRITERIA, score)
    assert score.calls == 2
    assert all((again[name] == kept[name]).all() for name in again)


def test_a_folder_that_cannot_be_written_costs_the_scores_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    scores = cached_scores(tmp_path / "file", "key", LAYOUT, CRITERIA, Counting())
    assert scores.keys() == {group.name for group in LAYOUT.groups}
    assert "cannot be kept" in caplog.text


def test_a_users_own_criterion_is_always_scored(tmp_path: Path) -> None:
    score = Counting()
    for _ in range(2):
        cached_scores(tmp_path, "key", LAYOUT, ("l1", "mine.scores:best"), score)
    assert score.calls == 2
    assert list(tmp_path.iterdir()) == []


def changed_weight() -> str:
    other = network()
    with torch.no_grad():
        next(other.parameters())[0] += 1e-6
    return content_key(other, LAYOUT, CRITERIA, tensors(), 64, 0)


def changed_image() -> str:
    other = tensors()
    images = other.images.clone()
    images.view(-1)[0] += 1
    return content_key(network(), LAYOUT, CRITERIA, replace(other, images=images), 64, 0)


def tensors() -> Tensors:
    images = torch.randint(256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Tensors(images, torch.arange(6), torch.full((1, 1, 1, 1), 9.0), torch.full((1, 1, 1, 1), 5.0))


def changed_layer() -> str:
    other = network()
    next(m for m in other.modules() if isinstance(m, torch.nn.BatchNorm2d)).eps *= 10
    return content_key(other, LAYOUT, CRITERIA, tensors(), 64, 0)


CHANGES: dict[str, Callable[[], str]] = {
    "weights": changed_weight,
    "images": changed_image,
    "settings of a layer": changed_layer,
    "labels": lambda: content_key(
        network(), LAYOUT, CRITERIA, replace(tensors(), labels=torch.arange(6).flip(0)), 64, 0
    ),
    "normalisation": lambda: content_key(
        network(), LAYOUT, CRITERIA, replace(tensors(), scale=2 * tensors().scale), 64, 0
    ),
    "criteria": lambda: content_key(network(), LAYOUT, ("taylor", "l1"), tensors(), 64, 0),
    "groups": lambda: content_key(network(), replace(LAYOUT, groups=LAYOUT.groups[1:]), CRITERIA, tensors(), 64, 0),
    "seed": lambda: content_key(network(), LAYOUT, CRITERIA, tensors(), 64, 1),
}


def test_the_same_content_has_the_same_key() -> None:
    keys = {content_key(network(), LAYOUT, CRITERIA, tensors(), 64, 0) for _ in range(2)}
    assert len(keys) == 1


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_content_is_another_key(what: str) -> None:
    assert CHANGES[what]() != content_key(network(), LAYOUT, CRITERIA, tensors(), 64, 0)
