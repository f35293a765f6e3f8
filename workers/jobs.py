"""The jobs that a worker process can hold: each is built once from shared inputs and then called item by item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import nn

from spaces.foundation import Foundation, Trunk
from spaces.growth import Growth, grow_structure
from spaces.layout import Layout
from spaces.memory_format import fastest_format
from spaces.networks import NetworkSpec
from spaces.quantity import Measure
from spaces.randomness import numpy_generator
from workers.batches import TensorSplits, place, to_tensors
from workers.data import Images, Splits
from workers.evaluate import Bench, evaluate
from workers.evaluation import Outcome, Request
from workers.finals import Final, FinalResult, measure_final
from workers.finish.settings import FinishSettings
from workers.measure.accuracy import measure_accuracy
from workers.measure.memory import GpuMemory, measure_memory
from workers.prepare import base_network, load_base, prepare_trunk, train_base
from workers.probe import ProbeSettings
from workers.shelf import STATE, Keeper, Shelf, shelf_for
from workers.train import TrainSettings

SCORES = ".scores"
"""Folder beside the runs, which share it: criteria scores by content."""


@dataclass(frozen=True)
class RunSettings:
    """What jobs need to know of a run besides data and networks: plain values.

    Attributes:
        folder: of the run, on the driver's machine; see :meth:`shelf` for a worker's.
        run, keeper: see :func:`workers.shelf.shelf_for`.
    """

    spec: NetworkSpec
    folder: Path
    seed: int
    criteria: tuple[str, ...]
    keep: tuple[str, ...]
    base_training: TrainSettings
    training: TrainSettings
    probe: ProbeSettings
    probe_images: int
    scoring_images: int
    cost: Measure = "params"
    tune_epochs: int = 1
    interval_epochs: int = 1
    varied: tuple[str, ...] = ()
    compensate: bool = False
    memory_mb: int | None = None
    finish: FinishSettings = field(default_factory=FinishSettings)
    run: str = ""
    keeper: Keeper | None = None

    @property
    def base_weights(self) -> Path:
        """Where the trained base network's weights are."""
        return base_weights(self.folder)

    def shelf(self) -> Shelf:
        """This process's way to the run's files."""
        return shelf_for(self.folder, self.run, self.keeper)


def base_weights(folder: Path) -> Path:
    """Where the trained base network's weights are in a run's folder."""
    return folder / "weights" / "base.safetensors"


@dataclass(frozen=True)
class VisibleData:
    """What a search may see: training and validation images. The test split stays with the driver until the end."""

    train: Images
    validation: Images
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, splits: Splits) -> VisibleData:
        return cls(splits.train, splits.validation, *splits.statistics())


def base_job(data: VisibleData, settings: RunSettings) -> Callable[[None], float]:
    """Trains the base network (unless its weights are there); the result is its validation accuracy."""
    tensors, shelf = _tensors(data, settings), settings.shelf()

    def run(_: None) -> float:
        path = base_weights(shelf.folder)
        state = path.with_suffix(STATE)
        shelf.fetch(path, state)
        if not path.exists():
            after_epoch = shelf.hand_over_at_times(state)
            train_base(settings.spec, tensors, settings.base_training, settings.seed, path, after_epoch)
            shelf.hand_over(path)
            shelf.remove(state)
        network = _base(settings, tensors, shelf)
        return measure_accuracy(network, tensors.validation).accuracy

    return run


def trunk_job(data: VisibleData, settings: RunSettings, layouts: Mapping[Growth, Layout]) -> Callable[[Growth], Trunk]:
    """Grows and scores the base network."""
    tensors, shelf = _tensors(data, settings), settings.shelf()
    order = numpy_generator(settings.seed, "scoring images").permutation(len(tensors.train))[: settings.scoring_images]
    index = torch.from_numpy(order).to(tensors.train.labels.device)
    train = tensors.train
    scoring = replace(train, images=train.at(index), labels=train.labels[index])

    def run(growth: Growth) -> Trunk:
        base = _base(settings, tensors, shelf)
        return prepare_trunk(
            base,
            growth,
            layouts[growth],
            settings.criteria,
            scoring,
            settings.probe.batch_size,
            settings.seed,
            shelf.folder.parent / SCORES,
            settings.compensate,
        )

    return run


def memory_job(
    data: VisibleData, settings: RunSettings, growths: Sequence[Growth]
) -> Callable[[None], GpuMemory | None]:
    """Measures what the largest network takes of a GPU, before it is trained; ``None`` where PyTorch sees no GPU."""
    tensors = _tensors(data, settings)

    def run(_: None) -> GpuMemory | None:
        network = grow_structure(base_network(settings.spec, settings.seed), max(growths, key=sum))
        return measure_memory(place(network, tensors.train), tensors, settings.training, settings.probe)

    return run


def evaluation_job(data: VisibleData, settings: RunSettings, foundation: Foundation) -> Callable[[Request], Outcome]:
    """Probes and trains candidates."""
    bench = make_bench(data, settings, foundation)
    return lambda request: evaluate(request, bench)


def make_bench(data: VisibleData, settings: RunSettings, foundation: Foundation) -> Bench:
    """All that evaluations share, on this process's device; also the way in from a notebook."""
    tensors = _tensors(data, settings)
    trunks = {g: replace(t, network=place(t.network, tensors.train)) for g, t in foundation.trunks.items()}
    return Bench(
        foundation=replace(foundation, trunks=trunks),
        data=tensors,
        spec=settings.spec,
        class_names=data.train.class_names,
        mean=tuple(map(float, data.mean)),
        std=tuple(map(float, data.std)),
        probe=settings.probe,
        training=settings.training,
        scratch_epochs=settings.base_training.epochs + settings.training.epochs,
        tune_epochs=settings.tune_epochs,
        cost=settings.cost,
        interval_epochs=settings.interval_epochs,
        varied=settings.varied,
        seed=settings.seed,
        shelf=settings.shelf(),
        keep=settings.keep,
        memory_mb=settings.memory_mb or _free_memory_mb(),
    )


def _free_memory_mb() -> int | None:
    """Nine tenths of what is free: a candidate that eats it all fails before Ray stops its worker for it.

    None beside a GPU, whose driver reserves address space beyond any measure of memory.
    """
    return None if torch.cuda.is_available() else int(0.9 * psutil.virtual_memory().available / 2**20)


def _tensors(data: VisibleData, settings: RunSettings) -> TensorSplits:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    order = numpy_generator(settings.seed, "calibration images").permutation(len(data.train))
    calibration = data.train.subset(np.sort(order[: settings.probe_images]))
    splits = (data.train, data.validation, calibration)
    memory_format = fastest_format(base_network(settings.spec, settings.seed), settings.spec.shape)
    return TensorSplits(*(to_tensors(split, data.mean, data.std, device, memory_format) for split in splits))


def _base(settings: RunSettings, tensors: TensorSplits, shelf: Shelf) -> nn.Module:
    path = base_weights(shelf.folder)
    shelf.fetch(path)
    return place(load_base(settings.spec, settings.seed, path), tensors.train)


def final_job(
    validation: Images, test: Images, settings: RunSettings, foundation: Foundation
) -> Callable[[Final], FinalResult]:
    """Exports, proves and measures trained candidates."""
    shelf = settings.shelf()

    def run(item: Final) -> FinalResult:
        weights = shelf.here(item.weights)
        shelf.fetch(weights)
        result = measure_final(replace(item, weights=weights), foundation, validation, test, (settings.spec.name,))
        return replace(result, program=_exported(shelf, result.program), onnx=_exported(shelf, result.onnx))

    return run


def _exported(shelf: Shelf, path: Path | None) -> Path | None:
    """The driver's name for an exported file, once it has it."""
    if path is None:
        return None
    shelf.hand_over(path)
    return shelf.there(path)
