"""A bench that is built in a second: a tiny network, hardly trained, on images whose classes differ in brightness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spaces.foundation import Foundation, clusters_of
from spaces.groups import example_input
from spaces.growth import grow_structure
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.space import Space
from workers.data import Images
from workers.evaluate import Bench
from workers.jobs import RunSettings, VisibleData, base_job, make_bench, trunk_job
from workers.probe import ProbeSettings
from workers.train import TrainSettings

SPEC = NetworkSpec("inception", (1, 6, 6), 3, {"stem": 6, "widths": [12, 16], "modules": [1, 1]})
TRAINING = TrainSettings(epochs=2, batch_size=16, shift=1, distillation=0.5)


def make_images(count: int, seed: int) -> Images:
    """uint8 ``[count, 1, 6, 6]`` with labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 130, (count, 1, 6, 6)) + 60 * labels[:, None, None, None]
    return Images(pixels.astype(np.uint8), labels.astype(np.int64), ("dark", "grey", "light"))


def small_bench(folder: Path, training: TrainSettings = TRAINING, compensate: bool = False) -> Bench:
    """Two growths, 60 training and 40 validation images, 32 of them for calibration."""
    data = VisibleData(
        make_images(60, 0), make_images(40, 1), np.array([0.5], np.float32), np.array([0.25], np.float32)
    )
    settings = RunSettings(
        spec=SPEC,
        folder=folder,
        seed=0,
        criteria=("l1", "bn_scale"),
        keep=(),
        base_training=replace(training, epochs=2, distillation=0.0),
        training=training,
        probe=ProbeSettings(batch_size=16),
        probe_images=32,
        scoring_images=20,
        compensate=compensate,
    )
    base = build_network(SPEC)
    layouts = {
        growth: make_layout(grow_structure(base, growth), example_input(SPEC.shape)) for growth in [(0, 0), (0, 1)]
    }
    space = Space(layouts, settings.criteria, clusters_of(layouts, "network"))
    base_job(data, settings)(None)
    prepare = trunk_job(data, settings, layouts)
    return make_bench(data, settings, Foundation(space, {growth: prepare(growth) for growth in layouts}))
