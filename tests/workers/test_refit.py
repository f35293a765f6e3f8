"""The refit is scikit-learn's ridge regression; the embedding's numbers are what their names say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import nn

from workers.batches import Tensors
from workers.measure.accuracy import FeatureTap, measure_accuracy, predict
from workers.measure.embedding import NAMES, embedding_statistics
from workers.measure.refit import refit_accuracy

CLASSES = 4


def make_features(count: int, dimension: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    centres = np.random.default_rng(99).normal(size=(CLASSES, dimension))
    features = centres[labels] + rng.normal(size=(count, dimension)) * rng.uniform(0.5, 4, dimension) + 10
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


@pytest.mark.parametrize(("count", "dimension"), [(80, 5), (40, 39), (40, 40), (30, 90)])
@pytest.mark.parametrize("ridge", [0.01, 0.1, 10.0])
def test_refit_is_ridge_regression_on_one_hot_labels(count: int, dimension: int, ridge: float) -> None:
    train, labels = make_features(count, dimension, 0)
    validation, truth = make_features(500, dimension, 1)
    # scikit-learn standardises by N, the refit by N - 1: its penalty is worth that much more.
    scaler = StandardScaler().fit(train.double())
    factor = (count - 1) / count
    model = Ridge(alpha=ridge * count / factor).fit(scaler.transform(train.double()), np.eye(CLASSES)[labels])
    expected = (model.predict(scaler.transform(validation.double())).argmax(1) == truth.numpy()).mean()
    assert 0.2 < expected < 1.0
    assert refit_accuracy(train, labels, validation, truth, CLASSES, ridge) == pytest.approx(expected, abs=1e-9)


def test_refit_survives_dead_features_and_classes_without_images() -> None:
    train, labels = make_features(60, 6, 0)
    dead = torch.cat([train, torch.zeros(60, 2)], dim=1)
    plain = refit_accuracy(train, labels, train, labels, CLASSES)
    assert refit_accuracy(dead, labels, dead, labels, CLASSES) == plain
    assert refit_accuracy(dead, labels, dead, labels, CLASSES + 3) == plain


def test_embedding_by_hand() -> None:
    features, labels = make_features(70, 6, 0)
    features[:, 5] = 3.0
    found = dict(zip(NAMES, embedding_statistics(features, labels, CLASSES), strict=True))
    x = features.double().numpy()
    assert found["dimension"] == pytest.approx(math.log2(6))
    assert found["dead"] == pytest.approx(1 / 6)
    assert found["mean"] == pytest.approx(x.mean())
    assert found["spread"] == pytest.approx(x.std(ddof=1))
    share = np.linalg.eigvalsh(np.cov(x.T))
    share = np.clip(share / share.sum(), 1e-300, None)
    assert found["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()) / 6, rel=1e-5)
    within = np.array([x[labels == k].var(axis=0) * (labels == k).double().mean().item() for k in range(CLASSES)]).sum(
        0
    )
    total = x.var(axis=0)
    ratio = (total - within)[:5] / within[:5]
    assert found["discriminant"] == pytest.approx(np.log1p(ratio).sum() / 6, rel=1e-6)


def test_discriminant_orders_features_as_discriminant_analysis_does() -> None:
    accuracies, discriminants = [], []
    for noise in (0.3, 1.0, 4.0):
        features, labels = make_features(200, 5, 0)
        features = features + noise * torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
        accuracies.append(LinearDiscriminantAnalysis().fit(features, labels).score(features, labels))
        discriminants.append(embedding_statistics(features, labels, CLASSES)[-1])
    assert accuracies == sorted(accuracies, reverse=True)
    assert discriminants == sorted(discriminants, reverse=True)


def make_tensors(count: int) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    scalar = torch.ones(1, 1, 1, 1)
    return Tensors(images, labels, 127 * scalar, 70 * scalar)


def test_accuracy_and_loss_do_not_depend_on_batches() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Dropout(), nn.Flatten(), nn.Linear(48, CLASSES))
    data = make_tensors(53)
    with torch.no_grad():
        logits = network.eval()(data.normalise(data.images).contiguous())
    truth = data.labels
    log_softmax = logits - logits.logsumexp(1, keepdim=True)
    network.train()
    for size in (7, 20, 100):
        measured = measure_accuracy(network, data, size)
        assert measured.accuracy == pytest.approx((logits.argmax(1) == truth).double().mean().item())
        assert measured.loss == pytest.approx(-log_softmax[torch.arange(53), truth].mean().item(), rel=1e-5)
    assert torch.allclose(predict(network, data, 20), logits, atol=1e-5)


def test_tap_collects_what_the_last_linear_layer_reads() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    data = make_tensors(30)
    with FeatureTap(network) as tap:
        predict(network, data, 10)
    predict(network, data, 10)
    assert tap.features is not None
    assert torch.allclose(tap.features, network[:3](data.normalise(data.images).contiguous()).detach(), atol=1e-6)
    convolutional = nn.Sequential(nn.Conv2d(1, CLASSES, 4), nn.Flatten())
    with FeatureTap(convolutional) as tap:
        predict(convolutional, data)
    assert tap.features is None
