"""Losses in a training: combined by settings, resumed exactly, and gone when it ends."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_bench import small_bench
from torch import Tensor, nn

import workers.training.progress
from spaces.networks import NetworkSpec, build_network
from spaces.randomness import torch_generator
from workers.batches import Tensors, place
from workers.checkpoint import load_candidate
from workers.evaluate import evaluate, weights_path
from workers.evaluation import OK, SCRATCH, TRAIN, Request
from workers.losses import Step, make_objective
from workers.measure.accuracy import FeatureTap, measure_accuracy, predict
from workers.measure.likelihood import detection, log_likelihood, max_softmax
from workers.recalibrate import recalibrate
from workers.train import TrainSettings, train
from workers.training.optimizer import make_optimizer

SHAPE, CLASSES = (1, 6, 6), 3
PLAIN = TrainSettings(epochs=3, batch_size=16, shift=1)
METHODS = {
    "push": replace(PLAIN, push=0.1),
    "channel_correlation": replace(PLAIN, channel_correlation=0.1),
    "l_gm": replace(PLAIN, loss="l_gm"),
    "distilled l_gm": replace(PLAIN, loss="l_gm", distillation=0.5),
    "all": replace(PLAIN, loss="l_gm", distillation=0.5, label_smoothing=0.1, push=0.2, channel_correlation=0.3),
}


def make_data(count: int = 50) -> Tensors:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 130, (count, *SHAPE)) + 60 * labels[:, None, None, None]
    grey = torch.full((1, 1, 1, 1), 128.0)
    return Tensors(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels), grey, grey / 2)


def make_network() -> nn.Module:
    spec = NetworkSpec("inception", SHAPE, CLASSES, {"stem": 4, "widths": [8, 12], "modules": [1, 1]})
    return place(build_network(spec, torch.Generator().manual_seed(1)), make_data())


def soft_labels(count: int = 50) -> Tensor:
    return torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(2))


def classifier(network: nn.Module) -> nn.Linear:
    layer = network.classifier
    assert isinstance(layer, nn.Linear)
    return layer


def same(first: nn.Module, second: nn.Module) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


class CutOff(Exception):
    pass


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_training_cut_off_ends_as_the_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, epoch: int
) -> None:
    monkeypatch.setattr(workers.training.progress, "CHECKPOINT_SECONDS", 0.0)
    undisturbed = make_network()
    train(undisturbed, make_data(), METHODS[name], 7, soft_labels())

    def cut(done: int) -> None:
        if done == epoch:
            raise CutOff

    checkpoint = tmp_path / "training.checkpoint"
    with pytest.raises(CutOff):
        train(make_network(), make_data(), METHODS[name], 7, soft_labels(), checkpoint, cut)
    resumed = make_network()
    train(resumed, make_data(), METHODS[name], 7, soft_labels(), checkpoint)
    assert same(resumed, undisturbed)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_loss_changes_weights_and_nothing_else(name: str) -> None:
    plain, other = make_network(), make_network()
    train(plain, make_data(), PLAIN, 7)
    train(other, make_data(), METHODS[name], 7, soft_labels())
    assert not same(plain, other)
    shapes = [{k: v.shape for k, v in network.state_dict().items()} for network in (plain, other)]
    assert shapes[0] == shapes[1]
    assert not any(m._forward_pre_hooks for m in other.modules())


@pytest.mark.parametrize("name", list(METHODS))
def test_a_visible_difference_is_learnt(name: str) -> None:
    network, data = make_network(), make_data(64)
    train(network, data, replace(METHODS[name], distillation=0.0, epochs=30, shift=0), 0)
    assert measure_accuracy(network, data).accuracy > 0.95


def test_the_whole_is_the_sum_of_its_terms() -> None:
    network = make_network()
    features, labels = torch.rand(9, 12), torch.arange(9) % CLASSES
    step = Step(torch.randn(9, CLASSES), labels, soft_labels(9), features, 0.5)

    def loss(**settings: float | str) -> float:
        objective = make_objective(network, TrainSettings(**settings), torch_generator(0, "a"))  # type: ignore[arg-type]
        return float(objective(step).detach())

    plain = loss()
    terms = loss(push=1) - plain, loss(channel_correlation=1) - plain
    assert loss(push=0.3, channel_correlation=0.2) == pytest.approx(plain + 0.3 * terms[0] + 0.2 * terms[1], rel=1e-5)
    halves = loss(distillation=0.5), loss(distillation=1.0)
    assert halves[0] == pytest.approx((plain + halves[1]) / 2, rel=1e-5)


def test_losses_are_computed_in_single_precision() -> None:
    objective = make_objective(make_network(), METHODS["all"], torch_generator(0, "a"))
    step = Step(torch.randn(9, CLASSES), torch.arange(9) % CLASSES, soft_labels(9), torch.rand(9, 12), 0.5)
    again = copy.deepcopy(objective)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = objective(step)
    assert torch.equal(half, again(step))


class TestMixture:
    def test_the_bias_is_that_of_distances_to_the_means(self) -> None:
        network, data = make_network(), make_data()
        train(network, data, METHODS["l_gm"], 7)
        layer = classifier(network)
        assert torch.allclose(layer.bias, -0.5 * layer.weight.square().sum(1))
        with FeatureTap(network) as tap:
            logits = predict(network, data)
        assert tap.features is not None
        assert torch.equal(torch.cdist(tap.features, layer.weight).argmin(1), logits.argmax(1))

    def test_means_start_as_those_of_the_features_and_the_rest_stays(self) -> None:
        network, data = make_network(), make_data()
        before = copy.deepcopy(network)
        make_objective(network, METHODS["l_gm"], torch_generator(0, "a")).start(network, data)
        assert same(nn.ModuleList(network.stages), nn.ModuleList(before.stages))
        recalibrate(before, data, 256)
        with FeatureTap(before) as tap:
            predict(before, data)
        assert tap.features is not None
        for k in range(CLASSES):
            assert torch.allclose(classifier(network).weight[k], tap.features[data.labels == k].mean(0), atol=1e-5)

    def test_a_class_without_images_starts_in_the_middle(self) -> None:
        network, data = make_network(), make_data()
        data = replace(data, labels=data.labels.clamp_max(1))
        make_objective(network, METHODS["l_gm"], torch_generator(0, "a")).start(network, data)
        weight = classifier(network).weight
        assert weight.isfinite().all()
        share = (data.labels == 0).float().mean()
        assert torch.allclose(weight[2], share * weight[0] + (1 - share) * weight[1], atol=1e-5)

    def test_means_do_not_decay(self) -> None:
        network = make_network()
        for settings, decays in ((PLAIN, True), (METHODS["l_gm"], False)):
            optimizer = make_optimizer(network, make_objective(network, settings, torch_generator(0, "a")), settings)
            decaying, without = (g["params"] for g in optimizer.param_groups)
            assert any(p is classifier(network).weight for p in decaying) == decays
            assert any(p is classifier(network).weight for p in without) != decays
            assert len(decaying) + len(without) == len(list(network.parameters()))

    def test_a_linear_layer_that_is_not_the_classifier_is_refused(self) -> None:
        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features, self.gate = nn.Conv2d(1, CLASSES, 6), nn.Linear(36, 5)

            def forward(self, x: Tensor) -> Tensor:
                gate: Tensor = self.gate(x.flatten(1)).mean(1, keepdim=True)
                return self.features(x).flatten(1) * gate

        with pytest.raises(ValueError, match="5 outputs and the network 3: it is not the classifier"):
            train(Gated(), make_data(), METHODS["l_gm"], 0)

    def test_a_network_without_a_bias_is_refused(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES, bias=False))
        with pytest.raises(ValueError, match=r"loss: l_gm: .* a bias .* set loss: cross_entropy"):
            train(network, make_data(), METHODS["l_gm"], 0)


@pytest.mark.parametrize("name", ["push", "channel_correlation", "l_gm"])
def test_a_network_without_a_linear_layer_is_refused(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, CLASSES, 6), nn.Flatten())
    with pytest.raises(ValueError, match=f"{name}: .* has none; turn it off"):
        train(network, make_data(), METHODS[name], 0)
    train(network, make_data(), PLAIN, 0)


@pytest.mark.parametrize("stage", [TRAIN, SCRATCH])
def test_a_candidate_of_all_losses_is_what_its_genome_promised(tmp_path: Path, stage: str) -> None:
    bench = small_bench(tmp_path, replace(METHODS["all"], epochs=2))
    request = Request(0, stage, bench.foundation.space.sample(np.random.default_rng(0)), "test")
    outcome = evaluate(request, bench)
    assert outcome.status == OK, outcome.message
    assert outcome.metrics["params"] == bench.foundation.space.cost(request.genome).params
    assert outcome.metrics["same_reloaded"] == 0.0
    saved, _ = load_candidate(weights_path(bench.folder, request))
    linear = [m for m in saved.modules() if isinstance(m, nn.Linear)]
    assert torch.allclose(linear[-1].bias, -0.5 * linear[-1].weight.square().sum(1))


def test_likelihood_by_hand() -> None:
    network, data = make_network(), make_data()
    layer = classifier(network)
    with FeatureTap(network) as tap:
        logits = predict(network, data)
    assert tap.features is not None
    densities = [
        torch.distributions.MultivariateNormal(mean, torch.eye(12).double()).log_prob(tap.features.double())
        for mean in layer.weight.detach().double()
    ]
    assert torch.allclose(log_likelihood(network, data), torch.stack(densities).amax(0))
    assert torch.allclose(max_softmax(network, data), logits.double().softmax(1).amax(1))
    with pytest.raises(ValueError, match="has none"):
        log_likelihood(nn.Sequential(nn.Conv2d(1, CLASSES, 6), nn.Flatten()), data)


def test_detection_is_the_area_under_the_curve() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    for count, other in ((40, 60), (7, 3), (1, 1)):
        inside, outside = rng.integers(2, 9, count), rng.integers(0, 7, other)  # ties
        truth = np.r_[np.ones(count), np.zeros(other)]
        expected = roc_auc_score(truth, np.r_[inside, outside])
        found = detection(torch.from_numpy(inside).double(), torch.from_numpy(outside).double())
        assert found == pytest.approx(expected)
