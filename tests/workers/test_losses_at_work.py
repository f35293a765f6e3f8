"""On handwritten digits each loss does to features what it is for."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import workers.train
from spaces.randomness import torch_generator
from workers.batches import Tensors, to_tensors
from workers.data import DataRequest, load_splits
from workers.losses import Objective, make_objective
from workers.losses.channel_correlation import ChannelCorrelation, mean_distances
from workers.losses.push import scatter, utility
from workers.measure.accuracy import FeatureTap, measure_accuracy, predict
from workers.measure.likelihood import detection, log_likelihood
from workers.train import TrainSettings, train

FEATURES = 48


@functools.cache
def digits() -> tuple[Tensors, Tensors]:
    """The training and the test split."""
    splits = load_splits(DataRequest("digits"))
    mean, std = splits.statistics()
    first, second = (to_tensors(part, mean, std) for part in (splits.train, splits.test))
    return first, second


@functools.cache
def trained(**settings: float | str) -> nn.Module:
    """A perceptron, trained for a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU()
        last = nn.Linear(96, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU()
        network = nn.Sequential(nn.Flatten(), *hidden, *last, nn.Linear(FEATURES, 10))
    train(network, digits()[0], TrainSettings(epochs=12, **settings), 0)  # type: ignore[arg-type]
    return network


def seen(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Features of the test images, and their labels."""
    data = digits()[1]
    with FeatureTap(network) as tap:
        predict(network, data)
    assert tap.features is not None
    return tap.features, data.labels


@pytest.mark.parametrize("settings", [{}, {"push": 0.1}, {"channel_correlation": 0.1}, {"loss": "l_gm"}])
def test_digits_are_learnt_with_every_loss(settings: dict[str, float | str]) -> None:
    assert measure_accuracy(trained(**settings), digits()[1]).accuracy > 0.95


def test_push_brings_utility_into_few_features() -> None:
    def state(network: nn.Module) -> tuple[float, float]:
        features, labels = seen(network)
        within, between, *_ = scatter(features, labels, 10)
        v = utility(within.diagonal(), between.diagonal()).sort(descending=True).values
        top = FEATURES // 4
        return float(v[:top].log1p().mean()), float(v[:top].sum() / v.sum())

    plain, pushed = state(trained()), state(trained(push=0.1))
    assert pushed[0] > 1.2 * plain[0], "separation of the top quarter"
    assert pushed[1] > 1.2 * plain[1], "its share of all utility"


def test_channel_correlation_brings_attention_within_classes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    objectives: list[Objective] = []

    def noted(*arguments: Any) -> Objective:
        objectives.append(make_objective(*arguments))
        return objectives[-1]

    def ratio(network: nn.Module, branch: nn.Module) -> float:
        assert isinstance(branch, ChannelCorrelation)
        features, labels = seen(network)
        intra, inter = mean_distances(branch.attention(features).detach(), labels)
        return float(intra / inter)

    monkeypatch.setattr(workers.train, "make_objective", noted)
    plain, attentive = trained(), trained.__wrapped__(channel_correlation=0.1)
    settings = TrainSettings(channel_correlation=0.1)
    untrained = make_objective(plain, settings, torch_generator(0, "objective"))
    before, after = (dict(o.named_modules())["_terms.channel_correlation"] for o in (untrained, objectives[-1]))
    assert ratio(attentive, after) < 0.7 * ratio(plain, before)


def test_the_likelihood_of_noise_is_less_than_that_of_digits() -> None:
    data = digits()[1]
    noise = torch.randint(0, 256, data.images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    others = Tensors(noise, data.labels, data.mean, data.scale)
    network = trained(loss="l_gm")
    assert detection(log_likelihood(network, data), log_likelihood(network, others)) > 0.95
