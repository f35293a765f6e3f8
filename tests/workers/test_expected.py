"""The guess of the test error: its constants are the table's, its interval is honest, and it ranks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch.nn import functional as F

from spaces.randomness import torch_generator
from workers.complexity import expected
from workers.complexity.csg import csg_interval
from workers.complexity.embeddings import EMBEDDINGS
from workers.complexity.expected import Figures, angle, expected_error, measure_figures, share

ROWS = json.loads((Path(__file__).parents[2] / "benchmarks/results/csg_value.json").read_text())["rows"]
FIGURES = ("pca 32 | cmsauls votes", "patches | cmsauls votes")
proportions = st.floats(0, 1)


def figures_of(row: dict[str, dict[str, float]]) -> Figures:
    return Figures(*(row["figures"][name] for name in FIGURES))


def test_constants_are_the_fit_to_the_measured_table() -> None:
    design = [[1, angle(f.components), angle(f.patches)] for f in map(figures_of, ROWS)]
    found = np.linalg.lstsq(np.array(design), np.array([angle(row["error"]) for row in ROWS]), rcond=None)[0]
    assert tuple(found) == pytest.approx((expected.CONSTANT, expected.COMPONENTS, expected.PATCHES), abs=0.002)


def test_interval_holds_most_of_the_table() -> None:
    guesses = [expected_error(figures_of(row)) for row in ROWS]
    inside = [guess.low <= row["error"] <= guess.high for guess, row in zip(guesses, ROWS, strict=True)]
    assert np.mean(inside) >= 0.9
    # An interval of everything would hold it as well.
    assert np.mean([guess.high - guess.low for guess in guesses]) < 0.6


@given(proportions, proportions, proportions)
def test_more_overlap_means_more_error(one: float, other: float, fixed: float) -> None:
    low, high = sorted((one, other))
    for easy, hard in ((Figures(low, fixed), Figures(high, fixed)), (Figures(fixed, low), Figures(fixed, high))):
        guess = expected_error(easy)
        assert 0 <= guess.low <= guess.error <= guess.high <= 1
        assert guess.error <= expected_error(hard).error


@given(proportions)
def test_share_undoes_angle(p: float) -> None:
    assert share(angle(p)) == pytest.approx(p, abs=1e-12)
    assert share(-1) == 0
    assert share(2) == 1


def test_figures_are_measured_as_in_the_table() -> None:
    bunch = load_digits()
    images = torch.from_numpy(bunch.images * 15).byte()[:, None]
    labels = torch.from_numpy(bunch.target)
    found = measure_figures(images, labels, 5)
    rows = torch.randperm(len(images), generator=torch_generator(5, "expected", "images"))[:1000]
    larger = F.interpolate(images[rows].float(), (16, 16), mode="bilinear", antialias=True).round().byte()
    for name, figure in (("pca", found.components), ("patches", found.patches)):
        points = EMBEDDINGS[name](larger, 5)
        assert figure == csg_interval(points, labels[rows], 5, 3, 100, 3, volume=False).confusion
    shuffled = measure_figures(images, labels[torch.randperm(len(labels), generator=torch_generator(0, "test"))], 5)
    assert expected_error(found).high < expected_error(shuffled).low


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="999 images"):
        measure_figures(torch.zeros(999, 1, 16, 16, dtype=torch.uint8), torch.arange(999) % 2, 0)


def test_no_data_set_is_so_easy_that_no_error_is_expected() -> None:
    guess = expected_error(Figures(0.0, 0.0))
    assert guess.low == 0.0
    assert 0.001 < guess.error < guess.high
