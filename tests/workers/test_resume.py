"""A training that was cut off, anywhere and in any way, ends with the bits of the undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import EVERYTHING, SETTINGS, make_data, make_network, same, soft_labels

import workers.train
from workers.losses import Objective, Step
from workers.tensors import load_tensors, load_weights, save_tensors
from workers.train import Diverged, Preempted, TrainSettings, train
from workers.training import progress

STEPS = 16
"""Of :data:`EVERYTHING`: 50 images in batches of 16, the last of 2, for 4 epochs."""


class CutOff(Exception):
    pass


class Stopping(Objective):
    """Raises in its nth step; has a parameter of its own, which must be resumed as well."""

    stop_at = -1

    def __init__(self, settings: TrainSettings) -> None:
        super().__init__(settings)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, step: Step) -> torch.Tensor:
        if round(step.progress * STEPS) == Stopping.stop_at:
            raise CutOff
        self.seen += 1
        return super().forward(step) * self.scale

    def finish(self, network: nn.Module) -> None:
        assert int(self.seen) == STEPS


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Stopping]]:
    monkeypatch.setattr(workers.train, "make_objective", lambda network, settings, generator: Stopping(settings))
    monkeypatch.setattr(progress, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LARGEST_SHARE", 1e9)
    Stopping.stop_at = -1
    yield Stopping
    Stopping.stop_at = -1


def run(network: nn.Module, checkpoint: Path | None = None, **more: Any) -> nn.Module:
    train(network, make_data(), EVERYTHING, 7, soft_labels(), checkpoint, **more)
    return network


def test_cut_off_at_ten_random_steps(tmp_path: Path, stopping: type[Stopping]) -> None:
    undisturbed = run(make_network(dropout=True))
    steps = np.random.default_rng().choice(np.arange(1, STEPS), 10, replace=False).tolist()
    for step in steps:
        checkpoint = tmp_path / f"{step}.checkpoint"
        stopping.stop_at = step
        with pytest.raises(CutOff):
            run(make_network(dropout=True), checkpoint)
        stopping.stop_at = -1
        assert steps_of(checkpoint) == step
        assert same(run(make_network(dropout=True), checkpoint), undisturbed), f"cut off at step {step}"


def test_cut_off_again_and_again(tmp_path: Path, stopping: type[Stopping]) -> None:
    undisturbed = run(make_network(dropout=True))
    for step in (1, 2, 5, 6, 13, 15):
        stopping.stop_at = step
        with pytest.raises(CutOff):
            run(make_network(dropout=True), tmp_path / "c")
    stopping.stop_at = -1
    assert same(run(make_network(dropout=True), tmp_path / "c"), undisturbed)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_cut_off_after_an_epoch_with_rare_checkpoints(tmp_path: Path, epoch: int) -> None:
    undisturbed = run(make_network(dropout=True))

    def cut(done: int) -> None:
        if done == epoch:
            raise CutOff

    with pytest.raises(CutOff):
        run(make_network(dropout=True), tmp_path / "c", after_epoch=cut)
    resumed, epochs = make_network(dropout=True), []
    run(resumed, tmp_path / "c", after_epoch=epochs.append)
    assert epochs == [2, 3, 4], "the first epoch is always saved, later ones after some seconds"
    assert same(resumed, undisturbed)


SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from training_cases import EVERYTHING, make_data, make_network, soft_labels
from workers.tensors import save_tensors
from workers.train import train
from workers.training import progress
progress.CHECKPOINT_SECONDS, progress.LARGEST_SHARE = float(sys.argv[2]), 1e9
folder = Path(sys.argv[1])
network = make_network(dropout=True)
import dataclasses, time
network.register_forward_pre_hook(lambda *_: time.sleep(float(sys.argv[3])))
train(network, make_data(), EVERYTHING, 7, soft_labels(), folder / "c", lambda done: print(done, flush=True))
save_tensors(folder / "end", network.state_dict())
"""


def start(folder: Path, seconds: float = 0.0, sleep: float = 0.05) -> subprocess.Popen[str]:
    paths = [os.getcwd(), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(seconds), str(sleep)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_of(checkpoint: Path) -> int:
    _, header = load_tensors(checkpoint)
    return int(header["training"].rpartition('"steps": ')[2].strip("}"))


@pytest.fixture
def undisturbed(tmp_path: Path) -> nn.Module:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    network = run(make_network(dropout=True))
    torch.set_num_threads(before)
    return network


@pytest.mark.slow
def test_a_process_killed_by_9(tmp_path: Path, undisturbed: nn.Module) -> None:
    process = start(tmp_path)
    while not (tmp_path / "c").exists() or steps_of(tmp_path / "c") < 6:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert 6 <= steps_of(tmp_path / "c") < STEPS
    assert not (tmp_path / "end").exists()
    _, errors = start(tmp_path, sleep=0).communicate(timeout=120)
    resumed = make_network(dropout=True)
    assert (tmp_path / "end").exists(), errors
    load_weights(resumed, tmp_path / "end")
    assert same(resumed, undisturbed)


@pytest.mark.slow
def test_sigterm_writes_the_checkpoint_and_ends_the_process(tmp_path: Path, undisturbed: nn.Module) -> None:
    process = start(tmp_path, seconds=1e9)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    before = steps_of(tmp_path / "c")
    time.sleep(0.12)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert before == 4
    assert 4 < steps_of(tmp_path / "c") < STEPS, "saved after the step in which the signal came"
    assert "Traceback" not in errors
    _, errors = start(tmp_path, sleep=0).communicate(timeout=120)
    resumed = make_network(dropout=True)
    load_weights(resumed, tmp_path / "end")
    assert same(resumed, undisturbed)


def test_sigterm_in_process_is_held_back_for_one_step_and_no_longer(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    network, seen = make_network(), []

    def signalled(*_: object) -> None:
        seen.append(len(seen))
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    network.register_forward_pre_hook(signalled)
    with pytest.raises(Preempted, match="after step 6"):
        run(network, tmp_path / "c")
    assert len(seen) == steps_of(tmp_path / "c") == 6
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_sigterm_that_comes_too_late_for_a_checkpoint_is_delivered_after_the_training() -> None:
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        run(make_network(), after_epoch=lambda done: os.kill(os.getpid(), signal.SIGTERM) if done == 4 else None)
        assert came == [True]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_training_in_a_thread_gets_no_signals_and_works() -> None:
    networks = [make_network(), make_network()]
    thread = threading.Thread(target=run, args=[networks[0]])
    thread.start()
    thread.join()
    assert same(networks[0], run(networks[1]))


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


@pytest.mark.parametrize("other", ["seed", "settings", "images", "network"])
def test_the_checkpoint_of_another_training_is_not_used(tmp_path: Path, other: str) -> None:
    checkpoint = tmp_path / "c"
    settings = replace(SETTINGS, learning_rate=0.01) if other == "settings" else SETTINGS
    network = make_network(dropout=other == "network")
    with pytest.raises(CutOff):
        train(
            network,
            make_data(49 if other == "images" else 50),
            settings,
            int(other == "seed"),
            None,
            checkpoint,
            _cut_off,
        )
    undisturbed, resumed = make_network(), make_network()
    train(undisturbed, make_data(), SETTINGS, 0)
    train(resumed, make_data(), SETTINGS, 0, None, checkpoint)
    assert same(resumed, undisturbed)


@pytest.mark.parametrize("damage", ["cut short", "no header", "strange header"])
def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, damage: str) -> None:
    checkpoint = tmp_path / "c"
    with pytest.raises(CutOff):
        train(make_network(), make_data(), SETTINGS, 0, None, checkpoint, _cut_off)
    if damage == "cut short":
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    else:
        header = {} if damage == "no header" else {"training": "[]"}
        save_tensors(checkpoint, load_tensors(checkpoint)[0], header)
    undisturbed, resumed = make_network(), make_network()
    train(undisturbed, make_data(), SETTINGS, 0)
    train(resumed, make_data(), SETTINGS, 0, None, checkpoint)
    assert same(resumed, undisturbed)


def test_a_resumed_training_is_judged_by_its_first_loss_and_diverges_where_the_undisturbed_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LARGEST_SHARE", 1e9)
    wild = replace(SETTINGS, epochs=100, learning_rate=100.0, schedule="constant", distillation=0.0)
    with pytest.raises(Diverged) as undisturbed:
        train(make_network(), make_data(), wild, 0)
    with pytest.raises(CutOff):
        train(make_network(), make_data(), wild, 0, None, tmp_path / "c", _cut_off)
    with pytest.raises(Diverged) as resumed:
        train(make_network(), make_data(), wild, 0, None, tmp_path / "c")
    assert str(resumed.value) == str(undisturbed.value)
