"""CSG against the plain loops, the authors' published package, and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from csg_oracle import neighbours_of, plain_csg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from spaces.randomness import torch_generator
from workers.complexity import neighbours as neighbours_module
from workers.complexity.csg import Csg, csg, csg_interval, csg_of_samples, draw_samples
from workers.complexity.neighbours import nearest, neighbour_error

ALL = 10**9


def generator() -> torch.Generator:
    return torch_generator(0, "test")


def known_set(name: str) -> tuple[Tensor, Tensor]:
    bunch = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}[name]()
    if name == "digits":
        # Pixels are small integers: the published package breaks their many ties in no order. A jitter parts them.
        points = bunch.data / 16 + np.random.default_rng(0).uniform(0, 1e-5, bunch.data.shape)
    else:
        points = (bunch.data - bunch.data.mean(0)) / bunch.data.std(0)
    return torch.from_numpy(points), torch.from_numpy(bunch.target)


@pytest.mark.parametrize(
    ("name", "k", "expected"),
    [
        ("digits", 3, 0.041127942209),
        ("digits", 5, 0.061484996900),
        ("digits", 10, 0.101217850317),
        ("wine", 3, 0.000501623191),
        ("wine", 5, 0.005908007272),
        ("wine", 10, 0.036321419746),
        ("breast cancer", 3, 0.222615540859),
        ("breast cancer", 5, 0.094342538848),
        ("breast cancer", 10, 0.789926423754),
    ],
)
def test_values_of_the_authors_package(name: str, k: int, expected: float) -> None:
    """All points are samples, which leaves nothing to chance; spectral-metric 0.6.1 printed the values."""
    points, labels = known_set(name)
    assert csg(points, labels, generator(), ALL, k).csg == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("k", "expected"), [(3, 0.043325744613), (5, 0.061484996900), (10, 0.099533713616)])
def test_digits_with_ties_by_index(k: int, expected: float) -> None:
    bunch = load_digits()
    found = csg(torch.from_numpy(bunch.data / 16), torch.from_numpy(bunch.target), generator(), ALL, k)
    assert found.csg == pytest.approx(expected, abs=1e-9)


@st.composite
def crowded(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points on a coarse grid, so with many ties and duplicates, some classes of one point; and samples of them."""
    classes = draw(st.integers(2, 6))
    count = draw(st.integers(classes + 6, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.concatenate([np.arange(classes), rng.integers(0, draw(st.integers(1, classes)), count - classes)])
    points = rng.integers(0, draw(st.integers(1, 6)), (count, draw(st.integers(1, 4)))) / 4
    points = points + draw(st.sampled_from([0.0, 0.0, 0.1])) * rng.normal(size=points.shape)
    # Far from the origin a product of coordinates loses the digits that tell neighbours apart.
    points = points * draw(st.sampled_from([1.0, 2.0**-20, 2.0**20])) + draw(st.sampled_from([0.0, 2.0**22]))
    few = draw_samples(torch.from_numpy(labels), draw(st.integers(1, 12)), generator()).numpy()
    return points, labels, few, draw(st.integers(1, 5))


def assert_same(found: Csg, points: np.ndarray, labels: np.ndarray, chosen: np.ndarray, k: int, volume: bool) -> None:
    expected = plain_csg(points, labels, chosen, k, volume)
    for figure in ("csg", "auls", "cmsauls"):
        assert getattr(found, figure) == pytest.approx(getattr(expected, figure), abs=1e-10)
    assert found.effective_samples == pytest.approx(expected.effective_samples, rel=1e-9)
    for matrix in ("spectrum", "similarity", "votes"):
        assert np.abs(getattr(found, matrix).numpy() - getattr(expected, matrix)).max() < 1e-10


@settings(max_examples=300, deadline=None)
@given(crowded(), st.booleans())
def test_equal_to_plain_loops(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], volume: bool) -> None:
    points, labels, chosen, k = case
    found = csg_of_samples(
        torch.from_numpy(points), torch.from_numpy(labels), torch.from_numpy(chosen), neighbours=k, volume=volume
    )
    assert_same(found, points, labels, chosen, k, volume)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_do_not_suffer_from_cancellation(offset: float, dtype: torch.dtype) -> None:
    """Clusters of near duplicates, a far outlier: what float32 products cannot tell apart."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 5))
    cloud = centres[rng.integers(0, 8, 400)] + 1e-7 * rng.normal(size=(400, 5)) + offset
    points = torch.from_numpy(np.concatenate([cloud, cloud[:40], np.full((1, 5), 1e4)])).to(dtype)
    found = nearest(points, torch.arange(len(points)), 6)
    table = points.double().numpy()
    assert np.array_equal(found.numpy(), [neighbours_of(table, i, 6) for i in range(len(table))])


@pytest.mark.parametrize("scale", [1e-170, 1e-150, 1e-30, 1e30, 1e140])
def test_neighbours_at_any_scale(scale: float) -> None:
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 3)) * scale)
    found = nearest(points, torch.arange(80), 4)
    assert np.array_equal(found.numpy(), [neighbours_of(points.numpy(), i, 4) for i in range(80)])


def test_neighbour_error_is_scikit_learns_leaving_one_out() -> None:
    points, labels = known_set("breast cancer")
    points = torch.cat([points, points[:30]])
    labels = torch.cat([labels, 1 - labels[:15], labels[15:30]])
    table = points.numpy()
    wrong = []
    for i in range(len(table)):
        rest = np.delete(np.arange(len(table)), i)
        rule = KNeighborsClassifier(1, algorithm="brute").fit(table[rest], labels.numpy()[rest])
        wrong.append(rule.predict(table[i : i + 1])[0] != labels[i])
    assert neighbour_error(points, labels) == pytest.approx(np.mean(wrong), abs=1e-12)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    points, _ = known_set("wine")
    points = torch.cat([points, points[:60]])
    whole = nearest(points, torch.arange(len(points)), 5)
    monkeypatch.setattr(neighbours_module, "_BLOCK_BYTES", 5000)
    assert torch.equal(nearest(points, torch.arange(len(points)), 5), whole)


def test_reduced_precision_products_are_not_used() -> None:
    points, _ = known_set("breast cancer")
    expected = nearest(points, torch.arange(len(points)), 5)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(nearest(points, torch.arange(len(points)), 5), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_two_classes_are_one_minus_total_variation() -> None:
    points, labels = known_set("breast cancer")
    found = csg(points, labels, generator(), 50)
    distance = float((found.votes[0] - found.votes[1]).abs().sum()) / 2
    assert found.csg == pytest.approx(1 - distance, abs=1e-12)
    assert found.relative == found.csg


def tight_places(places: list[int], copies: int = 12) -> tuple[Tensor, Tensor]:
    """Class c has ``copies`` points at place ``places[c]``; classes of one place alternate along a line."""
    labels = torch.arange(len(places)).repeat(copies)
    turn = torch.arange(copies).repeat_interleave(len(places))
    x = 1000.0 * torch.tensor(places)[labels] + (turn * len(places) + labels) / (copies * len(places))
    return x[:, None].double(), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_apart_have_none(classes: int) -> None:
    points, labels = tight_places(list(range(classes)))
    found = csg(points, labels, generator())
    assert found.csg == pytest.approx(0, abs=1e-12)
    assert torch.allclose(found.votes, torch.eye(classes).double())


@pytest.mark.parametrize(
    ("clique", "others", "expected"),
    [((4,), 0, 3.0), ((3,), 4, 2.0), ((3, 3), 2, 2 * 2 * 3 / 5), ((2, 2), 0, 2 * 1 * 2 / 3)],
)
def test_cliques_of_confused_classes(clique: tuple[int, ...], others: int, expected: float) -> None:
    """All points of a clique lie in one spot, so all its classes get the same votes, each of the first points."""
    places = [place for place, size in enumerate(clique) for _ in range(size)]
    places += list(range(len(clique), len(clique) + others))
    labels = torch.arange(len(places)).repeat(10)
    points = 1000.0 * torch.tensor(places)[labels][:, None].double()
    # The first points of a spot are of no class that is asked: everyone's neighbours are then the same.
    guard = torch.arange(len(clique)).double()[:, None] * 1000
    first = torch.tensor([places.index(place) for place in range(len(clique))]).repeat(6)
    points, labels = torch.cat([guard.repeat(6, 1), points]), torch.cat([first, labels])
    chosen = torch.arange(len(first), len(labels))
    found = csg_of_samples(points, labels, chosen)
    assert found.csg == pytest.approx(expected, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(crowded(), st.booleans())
def test_bounds(case: tuple[np.ndarray, np.ndarray, np.ndarray, int], volume: bool) -> None:
    points, labels, chosen, k = case
    found = csg_of_samples(torch.from_numpy(points), torch.from_numpy(labels), torch.from_numpy(chosen), k, volume)
    assert -1e-12 <= found.relative <= 1 + 1e-12
    assert found.auls <= found.csg + 1e-12
    assert abs(float(found.spectrum[0])) < 1e-12
    assert torch.allclose(found.votes.sum(1), torch.ones(found.classes).double())
    assert 1 <= found.effective_samples <= len(chosen) + 1e-9


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_uniform_confusion_is_its_error(classes: int) -> None:
    """All classes in one spot vote alike, w = 1: the error is that of chance."""
    labels = torch.arange(classes).repeat(8)
    found = csg_of_samples(torch.zeros(8 * classes, 2), labels, torch.arange(classes, 8 * classes))
    assert found.relative == pytest.approx(1, abs=1e-9)
    assert found.confusion == pytest.approx(1 - 1 / classes, abs=1e-9)


def test_names_of_classes_do_not_matter() -> None:
    points, labels = known_set("wine")
    plain = csg(points, labels, generator(), 20)
    renamed = csg(points, torch.tensor([40, -7, 12])[labels], generator(), 20)
    assert renamed.csg == pytest.approx(plain.csg, abs=1e-12)
    assert renamed.classes == 3
    order = torch.tensor([1, 2, 0])
    assert torch.allclose(renamed.similarity, plain.similarity[order][:, order])


def test_without_volume_the_diagonal_is_neighbour_accuracy() -> None:
    points, labels = known_set("wine")
    found = csg(points, labels, generator(), ALL, neighbours=1, volume=False)
    hits = labels[nearest(points, torch.arange(len(points)), 2)[:, 1]] == labels
    expected = torch.stack([hits[labels == c].double().mean() for c in range(3)])
    assert torch.allclose(found.votes.diagonal(), expected)
    assert found.effective_samples == 48


def test_shuffled_labels_overlap_more() -> None:
    points, labels = known_set("digits")
    values = []
    for shuffled in (0, 3, 6, 10):
        noisy = labels.clone()
        touched = torch.nonzero(labels < shuffled).flatten()
        noisy[touched] = labels[touched[torch.randperm(len(touched), generator=generator())]]
        values.append(csg(points, noisy, generator(), 100).csg)
    assert values == sorted(values)
    assert values[-1] > 0.7 * 9


def test_volumes_that_overflow_still_weigh() -> None:
    """In 2,000 dimensions the product of the box's sides is beyond float64, where the published code ends in NaN."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.normal(size=(60, 2000)))
    found = csg(points, torch.arange(60) % 3, generator(), ALL)
    assert math.isfinite(found.csg)
    assert torch.allclose(found.votes.sum(1), torch.ones(3).double())


def test_samples_are_of_every_class_and_at_random() -> None:
    labels = torch.tensor([5] * 40 + [3] + [9] * 7)
    chosen = draw_samples(labels, 10, generator())
    assert len(chosen.unique()) == len(chosen)
    assert labels[chosen].tolist() == [3] + [5] * 10 + [9] * 7
    counts = torch.zeros(48)
    shared = generator()
    for _ in range(2000):
        counts[draw_samples(labels, 10, shared)] += 1
    # 40 points, each drawn in a quarter of the runs: the statistic is close to chi-squared with 39 degrees of freedom.
    statistic = float(((counts[:40] - 500).square() / (2000 * 0.25 * 0.75)).sum()) * 39 / 40
    assert stats.chi2.sf(statistic, 39) > 1e-4


def test_a_thousand_classes() -> None:
    labels = torch.arange(1000).repeat(3)
    points = labels[:, None] + torch.rand(3000, 2, generator=generator(), dtype=torch.float64) * 0.01
    found = csg(points, labels, generator(), 2, neighbours=2)
    assert found.classes == 1000
    assert found.relative < 0.01
    confused = csg(torch.rand(3000, 2, generator=generator()), labels, generator(), 2, neighbours=2)
    assert found.csg < confused.csg <= 999


def test_interval_is_students_t_over_draws() -> None:
    points, labels = known_set("breast cancer")
    found = csg_interval(points, labels, seed=4, repeats=6, samples=40)
    runs = [csg(points, labels, torch_generator(4, "csg", i), 40) for i in range(6)]
    values = np.array([run.csg for run in runs])
    low, high = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert (found.csg.mean, found.csg.low, found.csg.high) == pytest.approx((values.mean(), low, high))
    assert found.csg.low < found.csg.mean < found.csg.high
    assert found.effective_samples == min(run.effective_samples for run in runs)
    assert torch.allclose(found.similarity, torch.stack([run.similarity for run in runs]).mean(0))
    assert csg_interval(points, labels, seed=4, repeats=6, samples=40).auls == found.auls


def test_no_width_where_every_point_is_a_sample() -> None:
    points, labels = known_set("wine")
    found = csg_interval(points, labels, seed=0, repeats=3, samples=1000)
    assert found.relative.high - found.relative.low < 1e-12


@pytest.mark.parametrize(
    ("points", "labels", "options", "words"),
    [
        (torch.rand(9, 2), torch.zeros(9).long(), {}, "one class"),
        (torch.rand(3, 2), torch.arange(3), {}, "too few for 3"),
        (torch.full((9, 2), math.nan), torch.arange(9) % 2, {}, "not finite"),
        (torch.tensor([[math.inf]] + [[0.0]] * 8), torch.arange(9) % 2, {}, "not finite"),
        (torch.rand(9), torch.arange(9) % 2, {}, r"\[N, D\]"),
        (torch.ones(9, 2).long(), torch.arange(9) % 2, {}, "floating"),
        (torch.rand(9, 2), torch.arange(8) % 2, {}, "one a point"),
        (torch.rand(9, 2), torch.arange(9) % 2, {"neighbours": 0}, "neighbours is 0"),
        (torch.rand(9, 2), torch.arange(9) % 2, {"samples": 0}, "samples is 0"),
    ],
)
def test_refusals(points: Tensor, labels: Tensor, options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        csg(points, labels, generator(), **options)


def test_refuses_a_class_without_a_sample_and_a_single_draw() -> None:
    points, labels = known_set("wine")
    with pytest.raises(ValueError, match="only 1 of 3 classes"):
        csg_of_samples(points, labels, torch.arange(5))
    with pytest.raises(ValueError, match="at least 2 draws"):
        csg_interval(points, labels, 0, repeats=1)
