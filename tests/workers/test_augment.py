"""Augmentation: each image in its own way, and nothing that the draws do not say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.augment import Draws, augment, draw
from workers.train import TrainSettings

FILL = torch.tensor([200, 100], dtype=torch.uint8).view(1, 2, 1, 1)


def make_images(count: int) -> Tensor:
    return torch.randint(0, 99, (count, 2, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn(count: int, **settings: int) -> Draws:
    return draw(count, (5, 4), TrainSettings(**settings), torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_shifted_copies_are_crops_of_the_padded_images() -> None:
    images = make_images(40)
    shifted = augment(images, drawn(40, shift=2), FILL)
    seen = set()
    for image, moved in zip(images, shifted, strict=True):
        padded = np.stack([np.pad(c.numpy(), 2, constant_values=int(f)) for c, f in zip(image, FILL[0], strict=True)])
        crops = {(r, c): padded[:, r : r + 5, c : c + 4] for r in range(5) for c in range(5)}
        fitting = [place for place, crop in crops.items() if np.array_equal(crop, moved.numpy())]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert len(seen) > 10, "images of a batch must move each in its own way"


def test_mirrored_copies_and_untouched_ones() -> None:
    images = make_images(64)
    flipped = augment(images, drawn(64, flip=True), FILL)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(images, flipped, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(images, flipped, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_hole_is_a_square_around_its_middle_cut_off_at_the_edges(side: int) -> None:
    images = make_images(60)
    draws = drawn(60, cutout=side)
    assert draws.hole is not None
    for image, found, (row, column) in zip(images, augment(images, draws, FILL), draws.hole.tolist(), strict=True):
        expected = image.clone()
        rows = [r for r in range(row - side // 2, row - side // 2 + side) if 0 <= r < 5]
        columns = [c for c in range(column - side // 2, column - side // 2 + side) if 0 <= c < 4]
        for r in rows:
            for c in columns:
                expected[:, r, c] = FILL.view(-1)
        assert torch.equal(found, expected)
    assert len({tuple(middle) for middle in draws.hole.tolist()}) > 15


def test_part_of_the_draws_treats_images_as_all_of_them_do() -> None:
    images = make_images(30)
    draws = drawn(30, shift=1, flip=True, cutout=2)
    whole = augment(images, draws, FILL)
    assert torch.equal(whole[10:17], augment(images[10:17], draws.of(10, 17), FILL))


def test_nothing_is_drawn_for_what_is_off() -> None:
    images, generator = make_images(4), torch.Generator().manual_seed(0)
    draws = draw(4, (5, 4), TrainSettings(), generator)
    assert torch.equal(augment(images, draws, FILL), images)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
