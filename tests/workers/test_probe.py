"""A probe measures what it says, and the same everywhere."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_bench import small_bench
from torch.nn import functional as F

from workers.batches import place
from workers.evaluate import Bench, evaluate
from workers.evaluation import PROBE, Request
from workers.measure.embedding import NAMES
from workers.measure.refit import refit_accuracy
from workers.probe import probe
from workers.recalibrate import recalibrate


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return small_bench(tmp_path_factory.mktemp("run"))


def request_of(bench: Bench, seed: int) -> Request:
    return Request(seed, PROBE, bench.foundation.space.sample(np.random.default_rng(seed)), "test")


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_the_recalibrated_network(bench: Bench, seed: int) -> None:
    genome = request_of(bench, seed).genome
    network = place(bench.foundation.build(genome).network, bench.data.train)
    twin = copy.deepcopy(network)
    metrics, embedding = probe(network, bench.data, bench.probe, 3)
    recalibrate(twin, bench.data.calibration, bench.probe.batch_size)
    with torch.no_grad():
        validation, calibration = bench.data.validation, bench.data.calibration
        logits = twin.eval()(validation.normalise(validation.images))
        features = []
        handle = twin.classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        twin(validation.normalise(validation.images))
        for module in twin.modules():
            module.training = isinstance(module, torch.nn.BatchNorm2d)
        for images, _ in calibration.batches(bench.probe.batch_size):
            twin(images)
        handle.remove()
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == validation.labels).double().mean().item())
    assert metrics["loss"] == pytest.approx(F.cross_entropy(logits, validation.labels).item(), rel=1e-5)
    assert metrics["epochs"] == 0
    refit = refit_accuracy(torch.cat(features[1:]), calibration.labels, features[0], validation.labels, 3)
    assert metrics["refit_accuracy"] == pytest.approx(refit)
    assert len(embedding) == len(NAMES)


def test_a_probe_gives_the_same_bits_again_whatever_ran_before(bench: Bench) -> None:
    requests = [request_of(bench, seed) for seed in range(4)]
    first = [evaluate(r, bench) for r in requests]
    torch.manual_seed(9)
    again = [evaluate(r, bench) for r in reversed(requests)][::-1]
    for one, two in zip(first, again, strict=True):
        assert (one.status, one.metrics, one.embedding) == ("ok", two.metrics, two.embedding)
    assert len({outcome.metrics["loss"] for outcome in first}) > 1


def test_a_probe_leaves_trunks_and_the_data_alone(bench: Bench) -> None:
    states = {g: copy.deepcopy(t.network.state_dict()) for g, t in bench.foundation.trunks.items()}
    images = bench.data.calibration.images.clone()
    for seed in range(3):
        evaluate(request_of(bench, seed), bench)
    for growth, state in states.items():
        now = bench.foundation.trunks[growth].network.state_dict()
        assert all(torch.equal(now[k], v) for k, v in state.items())
    assert torch.equal(bench.data.calibration.images, images)


def test_another_process_gives_the_same_bits(bench: Bench, tmp_path: Path) -> None:
    code = """
import torch
torch.set_num_threads(1)
from pathlib import Path
import numpy as np
from small_bench import small_bench
from workers.evaluate import evaluate
from workers.evaluation import Request
bench = small_bench(Path({folder!r}))
for seed in (3, 0):
    genome = bench.foundation.space.sample(np.random.default_rng(seed))
    outcome = evaluate(Request(seed, "probe", genome, "test"), bench)
    print(repr(sorted(outcome.metrics.items())), outcome.embedding)
"""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    run = subprocess.run(
        [sys.executable, "-c", code.format(folder=str(tmp_path))],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    ours = [evaluate(request_of(bench, seed), bench) for seed in (3, 0)]
    expected = [f"{sorted(o.metrics.items())!r} {o.embedding}" for o in ours]
    assert run.stdout.strip().splitlines() == expected
