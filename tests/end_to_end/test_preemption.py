"""SIGTERM to a Ray worker in a training: it saves, ends, and another worker goes on from where it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from workers.cluster import ClusterSettings, RayCluster

sys.path.insert(0, str(Path(__file__).parents[1] / "workers"))

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

JOB = """
import os, time
from pathlib import Path
from training_cases import EVERYTHING, make_data, make_network, soft_labels
from workers.train import train

def build():
    def job(checkpoint):
        network, steps = make_network(dropout=True), []
        def note(network, _):
            if not network.training:
                return  # batch norms take statistics for averaged weights in the end
            steps.append(0)
            Path(checkpoint).with_suffix(".at").write_text(f"{os.getpid()} {len(steps)}")
            time.sleep(0.2)
        handle = network.register_forward_pre_hook(note)
        train(network, make_data(), EVERYTHING, 7, soft_labels(), Path(checkpoint))
        handle.remove()
        return len(steps), os.getpid(), {k: v.numpy() for k, v in network.state_dict().items()}
    return job
"""


@pytest.mark.timeout(900)
def test_a_preempted_training_goes_on_in_another_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training_cases import EVERYTHING, make_data, make_network, same, soft_labels

    from workers.train import train

    (tmp_path / "preempted_job.py").write_text(JOB)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    from preempted_job import build  # type: ignore[import-not-found]

    preempted: list[int] = []

    def preempt() -> None:
        at = tmp_path / "c.at"
        while not preempted:
            time.sleep(0.02)
            words = at.read_text().split() if at.exists() else []
            if len(words) == 2 and int(words[1]) >= 7:  # the first epoch, of 4 steps, is in a checkpoint already
                preempted.extend(map(int, words))
                os.kill(preempted[0], signal.SIGTERM)

    cluster = RayCluster(ClusterSettings(workers=1), limit=lambda _: 600.0)
    try:
        cluster.use(build)
        thread = threading.Thread(target=preempt, daemon=True)
        thread.start()
        [(steps, process, state)] = cluster.map([str(tmp_path / "c")])
    finally:
        cluster.close()
    before, step = preempted
    assert process != before
    assert 0 < steps <= 16 - step, "it goes on after the step in which the signal came, not after the first epoch"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    undisturbed, resumed = make_network(dropout=True), make_network(dropout=True)
    train(undisturbed, make_data(), EVERYTHING, 7, soft_labels())
    torch.set_num_threads(threads)
    resumed.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()})
    assert same(resumed, undisturbed)
