"""What a search should cost, from timing the base network and some random candidates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from search.preflight import Preflight
from spaces.genome import Genome
from spaces.growth import grow_structure
from spaces.randomness import numpy_generator
from spaces.surgery import compact
from workers.evaluation import PROBE, SCRATCH, TRAIN
from workers.prepare import base_network
from workers.threads import torch_threads

BATCH = 64
CANDIDATES = 4


@dataclass(frozen=True)
class Forecast:
    """Expected device-seconds, measured on this machine with the run's threads; a guide, not a promise.

    Attributes:
        base: training the base network.
        each: one evaluation, by stage.
        counts: evaluations of the course, by stage.
    """

    base: float
    each: Mapping[str, float]
    counts: Mapping[str, int]

    @property
    def total(self) -> float:
        """Device-seconds of the whole run."""
        return self.base + sum(count * self.each[stage] for stage, count in self.counts.items())


def forecast(preflight: Preflight, counts: Mapping[str, int]) -> Forecast:
    """Time the base network and some random candidates, untrained, on one batch each."""
    config, train = preflight.config, len(preflight.splits.train)
    base = base_network(preflight.spec, config.seed)
    rng = numpy_generator(config.seed, "forecast")
    genomes = [preflight.space.sample(rng) for _ in range(CANDIDATES)]
    with torch_threads(config.cluster.threads):
        _, base_step = _seconds_per_image(base, preflight)
        timed = [_seconds_per_image(_structure(base, genome, preflight), preflight) for genome in genomes]
    forward, step = (sum(times) / CANDIDATES for times in zip(*timed, strict=True))
    probe_images = min(config.probe.images, train) + len(preflight.splits.validation)
    epochs, base_epochs = config.training.epochs, config.base_training.epochs
    each = {
        PROBE: forward * probe_images,
        TRAIN: step * train * epochs,
        SCRATCH: step * train * (epochs + base_epochs),
    }
    known = config.network.weights is not None
    return Forecast(0.0 if known else base_step * train * base_epochs, each, dict(counts))


def _structure(base: nn.Module, genome: Genome, preflight: Preflight) -> nn.Module:
    """A network of the genome's shape; which channels stay does not matter for its speed."""
    layout = preflight.space.layout(genome)
    widths = preflight.space.widths(genome)
    kept = {group.name: np.arange(width) for group, width in zip(layout.groups, widths, strict=True)}
    return compact(grow_structure(base, genome.growth) if any(genome.growth) else base, layout, kept)


def _seconds_per_image(network: nn.Module, preflight: Preflight) -> tuple[float, float]:
    """Of a forward pass, and of a training step: the faster of two tries after a warm-up."""
    train = preflight.splits.train
    count = min(BATCH, len(train))
    images = torch.tensor(train.images[:count], dtype=torch.float32) / 255
    labels = torch.tensor(train.labels[:count])
    _time(network, images, labels)
    forward, step = min(_time(network, images, labels) for _ in range(2))
    return forward / count, step / count


def _time(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    started = time.perf_counter()
    with torch.inference_mode():
        network.eval()(images)
    between = time.perf_counter()
    nn.functional.cross_entropy(network.train()(images), labels).backward()  # type: ignore[no-untyped-call]
    return between - started, time.perf_counter() - between
