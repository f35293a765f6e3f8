"""The ladder keeps classes in proportion, depends on the seed alone, and its advice follows from its intervals."""

from __future__ import annotations

import pytest
import torch

from spaces.randomness import torch_generator
from workers.complexity.csg import csg, csg_interval
from workers.complexity.reduction import part_of, reduce_data


def make_points(counts: list[int], distance: float, dimensions: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Round clouds, their centres ``distance`` apart on a line."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    points = torch.randn(len(labels), dimensions, generator=torch_generator(0, "points"))
    points[:, 0] += distance * labels
    return points, labels


def test_parts_keep_every_class_in_proportion_and_lie_in_each_other() -> None:
    labels = torch.tensor([0] * 100 + [3] * 40 + [7] * 11)[torch.randperm(151, generator=torch_generator(0, "order"))]
    order = torch.randperm(151, generator=torch_generator(1, "order"))
    before = set(range(151))
    for share in (1.0, 0.5, 0.25, 0.05):
        part = part_of(labels, order, share)
        found = torch.bincount(labels[part], minlength=8)[[0, 3, 7]].tolist()
        assert found == [max(1, round(share * n)) for n in (100, 40, 11)]
        assert part.tolist() == sorted(set(part.tolist()))
        assert set(part.tolist()) <= before
        before = set(part.tolist())


def test_the_first_rung_is_the_whole_set_and_the_last_keeps_ten_of_the_smallest_class() -> None:
    points, labels = make_points([400, 90], 2.0)
    reduction = reduce_data(points, labels, seed=3, repeats=3, samples=60)
    whole = csg_interval(points, labels, seed=3, repeats=3, samples=60).csg
    assert reduction.rungs[0].csg == whole
    assert [rung.images for rung in reduction.rungs] == [490, 245, 122, 61]
    assert all(rung.csg.low <= rung.csg.mean <= rung.csg.high for rung in reduction.rungs)


def test_a_rung_is_the_mean_csg_of_parts() -> None:
    points, labels = make_points([80, 80], 1.0)
    reduction = reduce_data(points, labels, seed=5, repeats=4)
    values = []
    for repeat in range(4):
        rows = part_of(labels, torch.randperm(160, generator=torch_generator(5, "reduction", repeat)), 0.5)
        values.append(csg(points[rows], labels[rows], torch_generator(0)).csg)  # all samples: the draw does not matter
    assert reduction.rungs[1].csg.mean == pytest.approx(sum(values) / 4)


def test_the_seed_alone_decides() -> None:
    points, labels = make_points([60, 60, 60], 1.5)
    first = reduce_data(points, labels, seed=0, repeats=3, samples=30)
    torch.rand(10)
    assert reduce_data(points, labels, seed=0, repeats=3, samples=30) == first
    assert reduce_data(points, labels, seed=1, repeats=3, samples=30) != first


def test_of_separable_classes_the_smallest_part_will_do() -> None:
    points, labels = make_points([160, 160, 160], 100.0)
    reduction = reduce_data(points, labels, seed=0, repeats=3, tolerance=0.0)
    assert reduction.advised == reduction.rungs[-1].images == 30
    assert all(abs(rung.csg.mean) < 1e-9 for rung in reduction.rungs)


def test_advice_ends_at_the_first_part_that_differs() -> None:
    # With many dimensions neighbours soon lie too far away to be of one's own class.
    points, labels = make_points([160] * 4, 4.0, dimensions=30)
    strict, lenient = (reduce_data(points, labels, 0, repeats=5, volume=False, tolerance=t) for t in (0.0, 0.03))
    assert (strict.advised, lenient.advised) == (320, 80)
    for reduction in (strict, lenient):
        top = reduction.rungs[0].csg.high + reduction.tolerance
        kept = [rung.csg.low for rung in reduction.rungs if rung.images >= reduction.advised]
        assert max(kept) <= top
        assert reduction.rungs[len(kept)].csg.low > top


def test_a_set_too_small_for_a_ladder_is_kept_whole() -> None:
    points, labels = make_points([19, 30], 1.0)
    reduction = reduce_data(points, labels, seed=0, repeats=2)
    assert [rung.images for rung in reduction.rungs] == [49]
    assert reduction.advised == 49


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        reduce_data(torch.randn(30, 2, generator=torch_generator(0)), torch.zeros(30, dtype=torch.int64), seed=0)
