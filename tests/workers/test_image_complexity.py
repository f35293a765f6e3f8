"""Each measure against images whose answer is known: constants, noise, blur, discs, gratings."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from workers.complexity.blobs import blob_density
from workers.complexity.frequency import median_frequency
from workers.complexity.image import Mean, measure_images
from workers.complexity.jpeg import jpeg_complexity

Pixels = npt.NDArray[np.uint8]
MEASURES = [jpeg_complexity, blob_density, median_frequency]


def noise(count: int, channels: int, side: int, spread: float = 64.0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).normal(128, spread, (count, channels, side, side))


def to_pixels(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(values.round(), 0, 255).astype(np.uint8)


def discs(side: int, centres: list[tuple[float, float]], radii: list[float]) -> tuple[Pixels, float]:
    """White discs on black as uint8 [1, 1, side, side], and the share of the area that they cover."""
    fine = 8
    grid = (np.arange(side * fine) + 0.5) / fine - 0.5
    mask = np.zeros((side * fine, side * fine), dtype=bool)
    for (row, column), radius in zip(centres, radii, strict=True):
        mask |= (grid[:, None] - row) ** 2 + (grid - column) ** 2 <= radius**2
    cover = mask.reshape(side, fine, side, fine).mean((1, 3))
    return to_pixels(255 * cover)[None, None], float(cover.mean())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_image_is_simple(measure, channels: int, level: int) -> None:
    images = np.full((2, channels, 30, 41), level, dtype=np.uint8)
    assert measure(images) == pytest.approx([0, 0], abs=0.002)


@pytest.mark.parametrize("measure", [jpeg_complexity, median_frequency])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 64])
def test_blur_makes_simpler(measure, channels: int, side: int) -> None:
    sharp = noise(8, channels, side)
    values = [measure(to_pixels(gaussian_filter(sharp, (0, 0, s, s)))).mean() for s in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1.5 * values[-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_rises_with_noise(channels: int) -> None:
    values = [jpeg_complexity(to_pixels(noise(8, channels, 32, spread))).mean() for spread in (0, 2, 8, 32, 64)]
    assert values == sorted(set(values))


def test_jpeg_of_small_images_is_that_of_a_mosaic_of_them() -> None:
    small = to_pixels(gaussian_filter(noise(64, 1, 32), (0, 0, 1, 1)))
    mosaic = small.reshape(8, 8, 32, 32).transpose(0, 2, 1, 3).reshape(1, 1, 256, 256)
    assert jpeg_complexity(small).mean() == pytest.approx(jpeg_complexity(mosaic)[0], rel=0.05)


@pytest.mark.parametrize("radius", [4, 5, 6, 7.5, 10, 14, 20, 30])
def test_a_disc_is_a_blob_of_its_area(radius: float) -> None:
    image, area = discs(128, [(64, 64)], [radius])
    assert blob_density(image)[0] == pytest.approx(area, rel=0.05)
    assert blob_density(np.repeat(image, 3, axis=1))[0] == blob_density(image)[0]


def test_discs_of_all_sizes_are_found_together() -> None:
    centres = [(60.0, 60.0), (60.0, 180.0), (180.0, 60.0), (180.0, 180.0), (120.0, 120.0)]
    image, area = discs(256, centres, [6, 12, 20, 30, 9])
    assert blob_density(image)[0] == pytest.approx(area, rel=0.05)


def test_a_disc_counts_from_the_contrast_that_lifts_it_over_the_threshold() -> None:
    # Its response is 2/e of its contrast, so 0.1 is reached at 0.136 of 255.
    image, area = discs(64, [(32, 32)], [8])
    found = [blob_density(to_pixels(image * (contrast / 255)))[0] for contrast in (33, 36)]
    assert found == pytest.approx([0, area], rel=0.06)


def test_responses_do_not_depend_on_the_other_images() -> None:
    images = to_pixels(noise(130, 1, 16))
    for measure in MEASURES:
        assert measure(images)[:70].tolist() == measure(images[:70]).tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cycles", [4, 8, 16, 24])
def test_a_grating_has_its_own_frequency(channels: int, cycles: int) -> None:
    wave = 128 + 100 * np.sin(2 * math.pi * cycles / 64 * np.arange(64))
    across = np.broadcast_to(wave, (1, channels, 64, 64))
    for images in (across, across.transpose(0, 1, 3, 2)):
        assert median_frequency(to_pixels(images))[0] == pytest.approx(cycles / 64, abs=1 / 64)


def test_white_noise_has_half_its_power_below_the_circle_of_half_the_area() -> None:
    # Frequencies fill the unit square evenly: π f² = ½.
    found = median_frequency(to_pixels(noise(32, 1, 64, 40)))
    assert found.mean() == pytest.approx(math.sqrt(0.5 / math.pi), abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (5, 5), (7, 300)])
def test_every_size_can_be_measured(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, *shape), dtype=np.uint8)
    measured = measure_images(images)
    for values in (measured.jpeg, measured.blobs, measured.frequency):
        assert values.shape == (3,)
        assert np.isfinite(values).all()
        assert (values >= 0).all()


def test_means_are_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    low, high = stats.t.interval(0.95, 3, loc=4.0, scale=stats.sem(values))
    mean = Mean.of(values)
    assert (mean.value, mean.low, mean.high) == pytest.approx((4.0, low, high))
    assert math.isnan(Mean.of(values[:1]).low)
