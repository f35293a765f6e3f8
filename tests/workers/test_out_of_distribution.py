"""Telling images of another kind: what they are, and scores that say how well it goes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from workers.batches import Tensors, to_tensors
from workers.data import Images
from workers.measure.out_of_distribution import Detection, measure_detection, other_kinds


def tensors(pixels: np.ndarray) -> Tensors:
    images = Images(pixels, np.zeros(len(pixels), np.int64), ("only",))
    return to_tensors(images, np.zeros(3), np.ones(3), memory_format=torch.contiguous_format)


def test_permuted_images_keep_their_pixels_and_lose_their_places() -> None:
    test = tensors(np.random.default_rng(0).integers(0, 256, (9, 3, 5, 4), dtype=np.uint8))
    permuted = other_kinds(test)["permuted pixels"].images.flatten(2)
    before = test.images.flatten(2)
    assert not torch.equal(permuted, before)
    columns = [sorted(map(tuple, image.T.tolist())) for images in (before, permuted) for image in images]
    assert columns[:9] == columns[9:]  # channels of a pixel stay together


def test_a_mean_in_the_middle_of_grey_tells_noise_by_its_distance() -> None:
    test = tensors(np.full((20, 3, 6, 6), 128, np.uint8))
    network = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    linear = network[1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.fill_(128 / 255)
        linear.bias.zero_()
    found = measure_detection(network.eval(), test)
    assert found["uniform noise"] == Detection(likelihood=1.0, softmax=0.5)
    assert found["permuted pixels"] == Detection(likelihood=0.5, softmax=0.5)
