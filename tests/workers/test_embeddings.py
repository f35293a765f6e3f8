"""Embeddings: standardised, the same from the same seed, and worth something."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.randomness import torch_generator
from workers.batches import Tensors
from workers.complexity.csg import csg
from workers.complexity.embeddings import EMBEDDINGS, network_features
from workers.complexity.embeddings.pca import project
from workers.complexity.embeddings.standardise import standardise
from workers.complexity.embeddings.tsne import MAX_IMAGES, tsne, tsne_of
from workers.complexity.neighbours import neighbour_error

QUICK: dict[str, dict[str, int]] = {
    "pixels": {},
    "pca": {"components": 8},
    "patches": {"components": 8, "filters": 32},
    "tsne": {},
    "autoencoder": {"epochs": 2},
    "autoencoder-tsne": {"epochs": 2},
}


def digits(count: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    images = torch.from_numpy(bunch.images[:count] * 15).byte()[:, None]
    return images.repeat(1, channels, 1, 1), torch.from_numpy(bunch.target[:count])


def test_every_embedding_is_tried() -> None:
    assert set(QUICK) == set(EMBEDDINGS)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_standardised_the_same_again_and_separating(name: str) -> None:
    images, labels = digits(200)
    before = torch.random.get_rng_state()
    found = EMBEDDINGS[name](images, 3, **QUICK[name])
    assert found.dtype == torch.float32
    assert len(found) == 200
    alive = found.square().mean(0) > 0
    assert float(found.mean(0).abs().max()) < 1e-5
    assert torch.allclose(found[:, alive].square().mean(0), torch.ones(int(alive.sum())), atol=1e-4)
    torch.manual_seed(123)
    assert torch.equal(EMBEDDINGS[name](images, 3, **QUICK[name]), found)
    torch.random.set_rng_state(before)
    # Shuffled labels would give close to 1.
    assert csg(found, labels, torch_generator(0, "test"), volume=False).relative < 0.3


@pytest.mark.parametrize("name", sorted(QUICK))
def test_global_randomness_is_left_alone(name: str) -> None:
    images, _ = digits(60)
    before, numbers = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    EMBEDDINGS[name](images, 0, **QUICK[name])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numbers)


def test_autoencoder_draws_from_the_seed() -> None:
    images, _ = digits(60)
    assert not torch.equal(
        EMBEDDINGS["autoencoder"](images, 0, epochs=1), EMBEDDINGS["autoencoder"](images, 1, epochs=1)
    )


def test_constant_axes_are_zero_whatever_their_value() -> None:
    features = torch.rand(50, 4, generator=torch_generator(0, "test"), dtype=torch.float64)
    features[:, 1] = 0.1
    features[:, 3] = -1e9 / 3
    found = standardise(features)
    assert torch.equal(found[:, [1, 3]], torch.zeros(50, 2))
    assert torch.allclose(found[:, [0, 2]].double().std(0, correction=0), torch.ones(2).double())


def test_components_are_those_of_scikit_learn() -> None:
    images, _ = digits(150, channels=3)
    features = images.flatten(1)
    found = project(features, 5).numpy()
    expected = PCA(5, svd_solver="full").fit_transform(features.double().numpy())
    assert np.allclose(found, expected * np.sign((expected * found).sum(0)), atol=1e-8)
    assert np.allclose(project(features.float(), 5).numpy(), found, atol=1e-8)
    assert project(torch.rand(20, 3, generator=torch_generator(0, "test")), 10).shape == (20, 3)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 24, 40)])
def test_autoencoder_takes_all_shapes(channels: int, height: int, width: int) -> None:
    generator = torch_generator(0, "test")
    images = torch.randint(0, 256, (9, channels, height, width), generator=generator, dtype=torch.uint8)
    # Batches of 8 leave one image over.
    assert EMBEDDINGS["autoencoder"](images, 0, epochs=1, batch_size=8).shape == (9, 128)


def test_patches_are_upset_less_by_shifts_than_pixels_are() -> None:
    images, labels = digits(400)
    images = F.pad(images, (4, 4, 4, 4))
    moves = torch.randint(-3, 4, (400, 2), generator=torch_generator(0, "test")).tolist()
    moved = torch.stack([image.roll(move, (1, 2)) for image, move in zip(images, moves, strict=True)])
    of_pixels, of_patches = (neighbour_error(EMBEDDINGS[name](moved, 0), labels) for name in ("pixels", "patches"))
    assert of_patches < 0.8 * of_pixels


def test_patches_have_contrast_taken_off() -> None:
    """Brighter by a constant is the same image to them, up to the floor under the contrast."""
    images, _ = digits(60)
    dim = (images // 2) + 20
    assert torch.allclose(EMBEDDINGS["patches"](dim + 60, 0), EMBEDDINGS["patches"](dim, 0), atol=1e-3)


def test_autoencoder_learns() -> None:
    """The code of more training tells more: a linear map gives the pixels back better."""
    images, _ = digits(300)
    pixels = images.flatten(1).float() / 255

    def left(code: Tensor) -> float:
        whole = torch.cat([code[:, ::8], torch.ones(len(code), 1)], 1)
        return float((whole @ torch.linalg.lstsq(whole, pixels).solution - pixels).square().mean())

    untrained, trained = (left(EMBEDDINGS["autoencoder"](images, 0, epochs=epochs)) for epochs in (0, 15))
    assert trained != untrained
    assert trained < 1.2 * untrained


def test_tsne_in_three_dimensions_and_its_limits() -> None:
    images, _ = digits(60)
    assert tsne(images, 0, components=3).shape == (60, 3)
    with pytest.raises(ValueError, match="give 2 or 3"):
        tsne(images, 0, components=4)
    with pytest.raises(ValueError, match=r"t-SNE of 4 images"):
        tsne(images[:4], 0)
    with pytest.raises(ValueError, match="drawn at random"):
        tsne_of(torch.zeros(MAX_IMAGES + 1, 2), 0)


def test_network_features_are_what_its_classifier_reads() -> None:
    images, labels = digits(50)
    scalar = torch.ones(1, 1, 1, 1)
    data = Tensors(images, labels, 127 * scalar, 70 * scalar)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    with torch.no_grad():
        expected = standardise(network[:3](data.normalise(images)))
    assert torch.allclose(network_features(network, data, batch_size=20), expected, atol=1e-4)
    with pytest.raises(ValueError, match="no linear layer"):
        network_features(nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()), data)
