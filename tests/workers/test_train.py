"""Training: what is minimised, at which rates, what is averaged, and when it is given up."""

from __future__ import annotations

import contextlib
import copy
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_cases import CLASSES, SETTINGS, make_data, make_network, same, soft_labels

import workers.train
from workers.losses import Objective, Step
from workers.recalibrate import recalibrate
from workers.train import Diverged, Hopeless, TrainSettings, train
from workers.training.average import Average
from workers.training.progress import take_over
from workers.training.schedule import rate
from workers.training.watch import LOOK_EVERY, Watch


def test_a_training_broken_off_and_continued_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    data, soft = make_data(), soft_labels()
    undisturbed = make_network()
    train(undisturbed, data, SETTINGS, 7, soft)
    for until in (1, 3, 3, 4):
        network = make_network()
        train(network, data, SETTINGS, 7, soft, tmp_path / "x.checkpoint", until=until)
        assert same(network, undisturbed) == (until == 4)


def test_a_continued_training_follows_its_new_settings_on_the_old_schedule(tmp_path: Path) -> None:
    data = make_data()
    ends = []
    for factor in (1.0, 0.0):
        network = make_network()
        checkpoint = tmp_path / f"{factor}.checkpoint"
        train(network, data, SETTINGS, 7, None, checkpoint, until=2)
        before = copy.deepcopy(network)
        still = replace(SETTINGS, learning_rate=SETTINGS.learning_rate * factor)
        take_over(checkpoint, checkpoint, still, 8, len(data))
        train(network, data, still, 8, None, checkpoint)
        ends.append(all(torch.equal(a, b) for a, b in zip(network.parameters(), before.parameters(), strict=True)))
    assert ends == [False, True]


def test_training_depends_on_its_seed_alone_and_leaves_global_randomness() -> None:
    data = make_data()
    networks = [make_network() for _ in range(3)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(networks[0], data, SETTINGS, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    train(networks[1], data, SETTINGS, 7)
    train(networks[2], data, SETTINGS, 8)
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])
    assert not networks[0].training


def test_a_visible_difference_is_learnt() -> None:
    data = make_data(64)
    brighter = data.images // 2 + (60 * data.labels[:, None, None, None]).byte()
    data = replace(data, images=brighter)
    network = make_network()
    train(network, data, TrainSettings(epochs=30, batch_size=16), 0)
    with torch.no_grad():
        logits = network(data.normalise(data.images))
    assert (logits.argmax(1) == data.labels).float().mean() > 0.95


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(value: float) -> None:
    network = make_network()
    with torch.no_grad():
        next(network.parameters()).fill_(value)
    with pytest.raises(Diverged, match="not finite by step 16 of 16"):
        train(network, make_data(), SETTINGS, 0)


def test_the_last_single_image_is_left_out() -> None:
    network = make_network()
    train(network, make_data(33), replace(SETTINGS, epochs=1), 0)
    steps = {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    assert steps == {2}


def test_loss_by_hand() -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 5, CLASSES)) * 3
    labels = rng.integers(0, CLASSES, 5)

    def log_softmax(x: np.ndarray) -> np.ndarray:
        return np.asarray(x - np.log(np.exp(x).sum(axis=1, keepdims=True)))

    smoothing, alpha, temperature = 0.2, 0.3, 2.5
    truth = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    hard = -(truth * log_softmax(logits)).sum(axis=1).mean()
    teacher, student = log_softmax(target / temperature), log_softmax(logits / temperature)
    soft = (np.exp(teacher) * (teacher - student)).sum(axis=1).mean()
    settings = TrainSettings(label_smoothing=smoothing, distillation=alpha, temperature=temperature)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    found = Objective(settings)(Step(*tensors, torch.from_numpy(target)))
    assert float(found) == pytest.approx((1 - alpha) * hard + alpha * temperature**2 * soft)
    assert float(Objective(settings)(Step(*tensors))) == pytest.approx(hard)
    without = replace(settings, distillation=0.0)
    assert float(Objective(without)(Step(*tensors, torch.from_numpy(target)))) == pytest.approx(hard)


@pytest.mark.parametrize("warm_up", [0.0, 0.25])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_schedules_stay_between_nothing_and_the_learning_rate(schedule: str, warm_up: float) -> None:
    rates = np.array([rate(schedule, p, warm_up) for p in np.linspace(0, 1, 401)[:-1]])
    assert rates.max() == pytest.approx(1.0)
    assert rates.min() > 0
    assert np.abs(np.diff(rates)).max() < 0.02
    if schedule == "one_cycle" or warm_up:
        assert rates[0] == pytest.approx(0.04)
        assert rates.argmax() == 100
    if schedule != "constant":
        assert rates[-1] < 1e-3


def test_a_warm_up_rises_in_a_straight_line_and_leaves_the_rest_to_the_schedule() -> None:
    rising = np.array([rate("cosine", p, 0.2) for p in np.linspace(0, 0.2, 11)])
    assert np.allclose(np.diff(rising), 0.096)
    assert rate("cosine", 0.6, 0.2) == pytest.approx(rate("cosine", 0.5))
    assert rate("constant", 0.6, 0.2) == 1.0


def test_an_exploding_loss_ends_the_training_within_a_few_steps() -> None:
    network = make_network()
    settings = replace(SETTINGS, epochs=100, learning_rate=1e4, schedule="constant", distillation=0.0)
    with pytest.raises(Diverged, match=r"^the loss (exploded|is not finite) by step \d\d? of 400\b.*$"):
        train(network, make_data(), settings, 0)


@pytest.mark.parametrize(("factor", "explodes"), [(99.0, False), (101.0, True)])
def test_a_loss_explodes_at_a_hundred_times_the_first_or_guessing(factor: float, explodes: bool) -> None:
    for first in (0.1, 3.0):
        watch = Watch(classes=4, steps=100, device=torch.device("cpu"))
        reference = max(first, math.log(4))
        losses = [first] + [reference * factor * LOOK_EVERY] + [0.0] * (LOOK_EVERY - 2)
        with pytest.raises(Diverged, match="exploded by step 25 of 100") if explodes else contextlib.nullcontext():
            for step, loss in enumerate(losses):
                watch.note(torch.tensor(loss), step)


def test_bf16_uses_the_weights_of_the_step_and_not_those_cast_in_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [make_network() for _ in range(2)]
    for network, cached in zip(networks, (True, False), strict=True):
        cast = partial(torch.autocast, "cpu", torch.bfloat16, cache_enabled=cached)
        monkeypatch.setattr(workers.train, "_autocast", lambda _, cast=cast: cast())
        train(network, make_data(), replace(SETTINGS, epochs=1), 0)
    assert same(*networks)


def test_the_average_of_the_weights_by_hand() -> None:
    network = nn.Linear(2, 3)
    values = [torch.full((3, 2), float(v)) for v in (0.0, 1.0, 5.0, 7.0, -2.0)]
    with torch.no_grad():
        network.weight.copy_(values[0])
    average = Average(network, decay=0.25)
    expected = 0.0
    for step, value in enumerate(values[1:]):
        with torch.no_grad():
            network.weight.copy_(value)
        average.update(step)
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * float(value[0, 0])
    assert torch.allclose(average.weight0, torch.tensor(expected))


def test_a_training_with_ema_ends_with_averages_and_their_batch_norm_statistics() -> None:
    data = make_data()
    plain, averaged = make_network(), make_network()
    seen: list[Tensor] = []
    train(plain, data, SETTINGS, 0)
    weight = averaged.get_parameter("classifier.weight")
    train(averaged, data, replace(SETTINGS, ema=0.9), 0, after_epoch=lambda _: seen.append(weight.detach().clone()))
    assert torch.equal(seen[-1], plain.get_parameter("classifier.weight")), "the training itself is the same"
    assert not torch.equal(weight, seen[-1])
    statistics = {name: value.clone() for name, value in averaged.named_buffers()}
    recalibrate(averaged, data, SETTINGS.batch_size)
    assert all(torch.equal(value, statistics[name]) for name, value in averaged.named_buffers())


@pytest.mark.parametrize(("share", "epoch"), [(0.01, 1), (0.5, 3), (0.8, 5)])
def test_a_training_that_learns_nothing_is_given_up_when_its_time_is_over(share: float, epoch: int) -> None:
    data = make_data(200)
    generator = torch.Generator().manual_seed(3)
    data = replace(data, images=torch.zeros_like(data.images), labels=torch.randint(0, 3, (200,), generator=generator))
    settings = TrainSettings(epochs=6, batch_size=50, give_up=share)
    epochs: list[int] = []
    with pytest.raises(
        Hopeless, match=f"^no better than guessing in epoch {epoch} of 6: .*the commonest class is 3.*%$"
    ):
        train(make_network(), data, settings, 0, after_epoch=epochs.append)
    assert epochs == list(range(1, epoch))


def test_a_training_that_learns_is_not_given_up_and_is_the_same_as_without_the_rule() -> None:
    data = make_data(64)
    data = replace(data, images=data.images // 2 + (60 * data.labels[:, None, None, None]).byte())
    networks = [make_network() for _ in range(2)]
    for network, share in zip(networks, (0.0, 0.3), strict=True):
        train(network, data, TrainSettings(epochs=6, batch_size=16, give_up=share, learning_rate=0.01), 0)
    assert same(*networks)
