"""Training: what is minimised, what is seen, and that being cut off changes nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import workers.train
from spaces.networks import NetworkSpec, build_network
from workers.augment import augment
from workers.batches import Tensors, place
from workers.losses import Objective, Step
from workers.train import Diverged, TrainSettings, train
from workers.training.schedule import rate

SHAPE, CLASSES = (1, 6, 6), 3
SETTINGS = TrainSettings(epochs=4, batch_size=16, shift=1, distillation=0.5, label_smoothing=0.1)


def make_data(count: int = 50) -> Tensors:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, CLASSES, count))
    return Tensors(images, labels, torch.full((1, 1, 1, 1), 128.0), torch.full((1, 1, 1, 1), 64.0))


def make_network() -> nn.Module:
    spec = NetworkSpec("inception", SHAPE, CLASSES, {"stem": 4, "widths": [8, 12], "modules": [1, 1]})
    return place(build_network(spec, torch.Generator().manual_seed(1)), make_data())


def soft_labels(count: int = 50) -> Tensor:
    return torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(2))


def same(first: nn.Module, second: nn.Module) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


class CutOff(Exception):
    pass


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
        train(network, data, still, 7, None, checkpoint)
        ends.append(all(torch.equal(a, b) for a, b in zip(network.parameters(), before.parameters(), strict=True)))
    assert ends == [False, True]


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["checkpoints-of-all-epochs", "only-of-the-first"])
def test_a_training_cut_off_after_any_epoch_ends_as_the_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, seconds: float
) -> None:
    monkeypatch.setattr(workers.train, "CHECKPOINT_SECONDS", seconds)
    data, soft = make_data(), soft_labels()
    undisturbed = make_network()
    train(undisturbed, data, SETTINGS, 7, soft)

    def cut(done: int) -> None:
        if done == epoch:
            raise CutOff

    checkpoint = tmp_path / "training.checkpoint"
    with pytest.raises(CutOff):
        train(make_network(), data, SETTINGS, 7, soft, checkpoint, cut)
    assert checkpoint.exists()
    resumed, epochs = make_network(), []
    train(resumed, data, SETTINGS, 7, soft, checkpoint, epochs.append)
    assert epochs == list(range(epoch if seconds == 0 else 1, SETTINGS.epochs + 1))[1:]
    assert same(resumed, undisturbed)


def test_momenta_survive_a_checkpoint_in_every_memory_format(tmp_path: Path) -> None:
    # The fused optimizer walks memory: state in another order than its parameter would be applied to other weights.
    for memory_format in (torch.contiguous_format, torch.channels_last):
        networks = [make_network().to(memory_format=memory_format) for _ in range(2)]
        settings = TrainSettings(epochs=3, batch_size=25, learning_rate=0.05)
        train(networks[0], make_data(), settings, 3)
        path = tmp_path / str(memory_format)
        with pytest.raises(CutOff):
            train(make_network().to(memory_format=memory_format), make_data(), settings, 3, None, path, _cut_off)
        train(networks[1], make_data(), settings, 3, None, path)
        assert same(*networks)


def _cut_off(_: int) -> None:
    raise CutOff


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c"
    data = make_data()
    undisturbed = make_network()
    train(undisturbed, data, SETTINGS, 7)
    with pytest.raises(CutOff):
        train(make_network(), data, SETTINGS, 8, checkpoint=checkpoint, after_epoch=_cut_off)
    other_seed = make_network()
    train(other_seed, data, SETTINGS, 7, checkpoint=checkpoint)
    assert same(other_seed, undisturbed)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    after_damage = make_network()
    train(after_damage, data, SETTINGS, 7, checkpoint=checkpoint)
    assert same(after_damage, undisturbed)


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
    with pytest.raises(Diverged, match="epoch 1 of 4"):
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


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_schedules_stay_between_nothing_and_the_learning_rate(schedule: str) -> None:
    rates = np.array([rate(schedule, p) for p in np.linspace(0, 1, 401)[:-1]])
    assert rates.max() == pytest.approx(1.0)
    assert rates.min() > 0
    assert np.abs(np.diff(rates)).max() < 0.02
    if schedule == "one_cycle":
        assert rates[0] == pytest.approx(0.04)
        assert rates.argmax() == 100
    if schedule != "constant":
        assert rates[-1] < 1e-3


def test_shifted_copies_are_crops_of_the_padded_images() -> None:
    images = torch.arange(1.0, 1 + 40 * 2 * 5 * 4).view(40, 2, 5, 4)
    shifted = augment(images, torch.Generator().manual_seed(0), shift=2)
    seen = set()
    for image, moved in zip(images, shifted, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)))
        crops = {(r, c): padded[:, r : r + 5, c : c + 4] for r in range(5) for c in range(5)}
        fitting = [place for place, crop in crops.items() if np.array_equal(crop, moved.numpy())]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert len(seen) > 10, "images of a batch must move each in its own way"


def test_mirrored_copies_and_untouched_ones() -> None:
    images = torch.rand(64, 1, 3, 4)
    flipped = augment(images, torch.Generator().manual_seed(0), flip=True)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(images, flipped, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(images, flipped, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(augment(copy.copy(images), generator), images)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
