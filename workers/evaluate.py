"""One evaluation from start to end: a request in, an outcome out, whatever happens in between."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from spaces.foundation import Candidate, Foundation
from spaces.genome import Genome
from spaces.growth import Growth, grow_structure
from spaces.inherit import inherit
from spaces.layout import Cost
from spaces.networks import NetworkSpec, build_network
from spaces.quantity import Measure
from spaces.randomness import seed_for, torch_generator
from spaces.surgery import compact
from workers.allocator import give_back_freed_memory
from workers.batches import TensorSplits, place
from workers.checkpoint import CandidateFile, load_candidate, save_candidate
from workers.evaluation import (
    BAR,
    FAILED,
    FINISH,
    INTERVAL,
    OK,
    PROBE,
    RECIPES,
    RUNG,
    SCRATCH,
    TRAIN,
    TUNE,
    Outcome,
    Request,
)
from workers.limits import memory_limit
from workers.measure.accuracy import measure_accuracy, predict
from workers.measure.latency import measure_latency
from workers.member import load_member, member_path, save_member
from workers.probe import ProbeSettings, probe
from workers.recalibrate import recalibrate
from workers.recipes.at_size import states_beside, train_with_gates, train_with_push
from workers.shelf import STATE, Shelf
from workers.shelved import train_on_shelf
from workers.train import Diverged, Hopeless, TrainSettings, train

FINISHED = "-finish"
"""Ending of the name of a finished candidate's files."""

_ENDINGS = {FINISH: FINISHED, **{stage: f"-{stage}" for stage in (SCRATCH, *RECIPES)}}


class BudgetMissed(RuntimeError):
    """The network that was built is not what its genome promised."""


@dataclass(frozen=True)
class Bench:
    """All that evaluations share: built once in every worker from what the driver put into the object store.

    Attributes:
        spec, class_names, mean, std: what a saved candidate needs to be used elsewhere.
        shelf: the way to the run's files.
        cost: what the search minimises besides the error.
        interval_epochs: epochs that a member of a population trains between two selections.
        varied: names of what ``Genome.settings`` holds, in its order.
    """

    foundation: Foundation
    data: TensorSplits
    spec: NetworkSpec
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    probe: ProbeSettings
    training: TrainSettings
    scratch_epochs: int
    tune_epochs: int
    seed: int
    shelf: Shelf
    cost: Measure = "params"
    interval_epochs: int = 1
    varied: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    memory_mb: int | None = None
    _soft_labels: dict[Growth, torch.Tensor] = field(default_factory=dict, repr=False)

    def soft_labels(self, genome: Genome) -> torch.Tensor:
        """Logits of the candidate's uncompressed trunk on the training split, computed once per worker."""
        if genome.growth not in self._soft_labels:
            self._soft_labels[genome.growth] = predict(self.foundation.trunk(genome).network, self.data.train)
        return self._soft_labels[genome.growth]

    @property
    def folder(self) -> Path:
        """The run's files as this process has them."""
        return self.shelf.folder

    @property
    def device(self) -> torch.device:
        return self.data.train.labels.device


def weights_path(folder: Path, request: Request) -> Path:
    """Where the weights of a training go, in the run's folder."""
    repeat = f"-{request.repeat}" if request.repeat else ""
    return folder / "weights" / f"{request.genome.id}{_ENDINGS.get(request.stage, '')}{repeat}.safetensors"


def evaluate(request: Request, bench: Bench) -> Outcome:
    """Run a probe or a training; a failure of the candidate comes back as a failed outcome, not as an exception."""
    started = time.perf_counter()
    try:
        with memory_limit(bench.memory_mb):
            metrics, embedding = _measure(request, bench)
        bad = [name for name, value in metrics.items() if name != "latency_ms" and not math.isfinite(value)]
        if bad:
            outcome = _failure(request, "nan", f"not a finite number: {', '.join(bad)}")
        else:
            outcome = Outcome(request.number, OK, metrics=metrics, embedding=embedding)
    except Exception as error:
        outcome = _failure(request, *failure_of(error))
    give_back_freed_memory()
    return replace(outcome, seconds=time.perf_counter() - started)


def _measure(request: Request, bench: Bench) -> tuple[dict[str, float], tuple[float, ...]]:
    if request.stage in RECIPES:
        return _recipe(request, bench), ()
    candidate, epochs = _start(request, bench)
    if request.stage == SCRATCH:
        candidate = replace(candidate, network=_fresh(candidate, bench, request))
    # A probe takes the network as surgery leaves it: on the device of its trunk, its images decide the memory format.
    network = candidate.network if request.stage == PROBE else place(candidate.network, bench.data.train)
    seed = seed_for(bench.seed, *request.purpose)
    known = _known(network, bench.foundation.space.cost(request.genome), bench, seed)
    if request.stage in (TRAIN, SCRATCH):
        return {**_train(request, bench, candidate, seed, epochs), **known}, ()
    if request.stage == RUNG:
        return {**_rung(request, bench, network, seed), **known}, ()
    if request.stage == INTERVAL:
        return {**_interval(request, bench, candidate, seed, epochs), **known}, ()
    if request.stage == TUNE:
        return {**_tune(request, bench, network, seed), **known}, ()
    metrics, embedding = probe(network, bench.data, bench.probe, len(bench.class_names), bench.seed)
    if bench.probe.latency:
        timed = measure_latency(
            {"candidate": place(network, bench.data.train)},
            bench.spec.shape,
            bench.probe.batch_size,
            bench.device,
            threads=torch.get_num_threads(),
        )
        known["latency_ms"] = timed["candidate"].median_ms
    return {**metrics, **known}, embedding


def _known(network: nn.Module, cost: Cost, bench: Bench, seed: int) -> dict[str, float]:
    """What is said of every network: its exact cost, how far that is from the budget, and its seed."""
    params = sum(p.numel() for p in network.parameters())
    if params != cost.params:
        raise BudgetMissed(f"the network has {params} parameters, {cost.params} were promised")
    violation = bench.foundation.space.budget.violation(cost)
    return {"params": params, "macs": cost.macs, "bytes": cost.bytes, "violation": violation, "seed": seed}


def _start(request: Request, bench: Bench) -> tuple[Candidate, int]:
    """The network that the evaluation starts from, and the epochs that it has been trained beyond the base network."""
    if not request.parent:
        return bench.foundation.build(request.genome), 0
    bench.shelf.fetch(member_path(bench.folder, request.parent))
    parent, epochs = load_member(bench.folder, request.parent, (bench.spec.name,))
    parent = replace(parent, network=place(parent.network, bench.data.train))
    calibration, size = bench.data.calibration, bench.probe.batch_size
    if request.genome.growth != parent.growth:
        # Growth changes nothing for the statistics that it was made with: those that training will begin with.
        recalibrate(parent.network, calibration, size)
    images, _ = next(calibration.first(size).batches(size))
    return inherit(bench.foundation, request.genome, parent, images), epochs


def _own_settings(request: Request, bench: Bench) -> TrainSettings:
    """The run's settings, with the candidate's own where it has any."""
    own: dict[str, Any] = dict(zip(bench.varied, request.genome.settings, strict=False))
    return replace(bench.training, **{name: own[name] for name in own.keys() & asdict(bench.training).keys()})


def _interval(request: Request, bench: Bench, candidate: Candidate, seed: int, epochs: int) -> dict[str, float]:
    """A member of a population trains on for a little; its weights are kept for its children."""
    network = place(candidate.network, bench.data.train)
    recalibrate(network, bench.data.calibration, bench.probe.batch_size)
    # Annealed to nothing within the interval: members are compared by what they can do, not by where noise left them.
    settings = replace(_own_settings(request, bench), epochs=bench.interval_epochs, schedule="cosine")
    soft_labels = bench.soft_labels(request.genome) if settings.distillation else None
    path = member_path(bench.folder, request.genome.id)
    train_on_shelf(bench.shelf, path.with_suffix(STATE), network, bench.data.train, settings, seed, soft_labels)
    measured = measure_accuracy(network, bench.data.validation)
    epochs += settings.epochs
    about = describe(request.genome, candidate.widths, bench)
    save_member(bench.folder, request.genome.id, network, about, candidate.kept, epochs)
    bench.shelf.hand_over(path)
    bench.shelf.remove(path.with_suffix(STATE))
    return {"accuracy": measured.accuracy, "loss": measured.loss, "epochs": epochs}


def _rung(request: Request, bench: Bench, network: nn.Module, seed: int) -> dict[str, float]:
    """The first epochs of a training, with its seed and its schedule, which goes on from the checkpoint they leave.

    Where that is gone by then, it begins anew, to the same end.
    """
    settings = _own_settings(request, bench)
    recalibrate(network, bench.data.calibration, bench.probe.batch_size)
    state = weights_path(bench.folder, request).with_suffix(STATE)
    soft_labels = bench.soft_labels(request.genome) if settings.distillation else None
    train_on_shelf(bench.shelf, state, network, bench.data.train, settings, seed, soft_labels, until=request.epochs)
    bench.shelf.hand_over(state)
    measured = measure_accuracy(network, bench.data.validation)
    return {"accuracy": measured.accuracy, "loss": measured.loss, "epochs": request.epochs or settings.epochs}


def _tune(request: Request, bench: Bench, network: nn.Module, seed: int) -> dict[str, float]:
    """A training of few epochs, with a schedule of its own; its weights are not kept."""
    recalibrate(network, bench.data.calibration, bench.probe.batch_size)
    settings = replace(bench.training, epochs=bench.tune_epochs)
    train(
        network, bench.data.train, settings, seed, bench.soft_labels(request.genome) if settings.distillation else None
    )
    measured = measure_accuracy(network, bench.data.validation)
    return {"accuracy": measured.accuracy, "loss": measured.loss, "epochs": settings.epochs}


def _train(request: Request, bench: Bench, candidate: Candidate, seed: int, epochs: int) -> dict[str, float]:
    network = candidate.network
    settings = _own_settings(request, bench)
    fine_tuning = settings.epochs if request.epochs is None else request.epochs
    if request.stage == SCRATCH:
        settings = replace(settings, epochs=bench.scratch_epochs - settings.epochs + fine_tuning)
    else:
        recalibrate(network, bench.data.calibration, bench.probe.batch_size)
        settings = replace(settings, epochs=fine_tuning)
    path = weights_path(bench.folder, request)
    soft_labels = bench.soft_labels(request.genome) if settings.distillation else None
    train_on_shelf(bench.shelf, path.with_suffix(STATE), network, bench.data.train, settings, seed, soft_labels)
    measured = _save(request, bench, network, candidate.widths)
    bench.shelf.remove(path.with_suffix(STATE))
    return {**measured, "epochs": epochs + settings.epochs}


def _recipe(request: Request, bench: Bench) -> dict[str, float]:
    """A method trains the base network to the candidate's size, with as many epochs as a training has."""
    trunk = bench.foundation.trunk(request.genome)
    budget = getattr(bench.foundation.space.cost(request.genome), bench.cost)
    settings = _own_settings(request, bench)
    settings = replace(settings, epochs=settings.epochs if request.epochs is None else request.epochs)
    seed = seed_for(bench.seed, *request.purpose)
    path = weights_path(bench.folder, request)
    if request.stage == BAR:
        soft_labels = bench.soft_labels(request.genome) if settings.distillation else None
        slim = train_with_gates(trunk, bench.data, budget, bench.cost, settings, seed, soft_labels, bench.shelf, path)
    else:
        slim = train_with_push(trunk, bench.data, budget, bench.cost, settings, seed, bench.keep, bench.shelf, path)
    cost = trunk.layout.cost(np.array([slim.widths[name] for name in trunk.layout.names]))
    if getattr(cost, bench.cost) > budget:
        raise BudgetMissed(f"the network has {getattr(cost, bench.cost)} {bench.cost}, more than {budget}")
    known = _known(slim.network, cost, bench, seed)
    measured = _save(request, bench, slim.network, slim.widths)
    for state in states_beside(path):
        bench.shelf.remove(state)
    return {**measured, **known, "epochs": settings.epochs}


def _save(request: Request, bench: Bench, network: nn.Module, widths: Mapping[str, int]) -> dict[str, float]:
    """Keep the weights of a trained network with all that builds it again, and measure it and what the file gives."""
    measured = measure_accuracy(network, bench.data.validation)
    path = weights_path(bench.folder, request)
    about = describe(request.genome, widths, bench)
    if request.stage in RECIPES:
        about = replace(about, genome="")  # no genome leads to these channels
    save_candidate(path, network, about)
    bench.shelf.hand_over(path)
    reloaded, _ = load_candidate(path, factories=(bench.spec.name,))
    images, _ = next(bench.data.validation.first(64).batches(64))
    return {
        "accuracy": measured.accuracy,
        "loss": measured.loss,
        "same_reloaded": largest_difference(network, place(reloaded, bench.data.train), images),
    }


def describe(genome: Genome, widths: Mapping[str, int], bench: Bench) -> CandidateFile:
    """What must stand beside a candidate's weights to build it again anywhere."""
    return CandidateFile(
        spec=bench.spec,
        growth=genome.growth,
        widths=dict(widths),
        keep=bench.keep,
        genome=genome.text,
        class_names=bench.class_names,
        mean=bench.mean,
        std=bench.std,
    )


def _fresh(candidate: Candidate, bench: Bench, request: Request) -> nn.Module:
    """The candidate's architecture with untrained weights."""
    seed = seed_for(bench.seed, "scratch", request.genome.id, request.repeat)
    base = build_network(bench.spec, torch_generator(seed, "weights"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = grow_structure(base, request.genome.growth)
        small = compact(grown, bench.foundation.trunk(request.genome).layout, candidate.kept)
        for module in small.modules():
            # A slice of a wide layer's initial weights has the wide layer's variance: draw anew at the real fan-in.
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
    return small


@torch.no_grad()
def largest_difference(first: nn.Module, second: nn.Module, images: torch.Tensor) -> float:
    """Between the outputs of two networks, both in eval mode."""
    return float((first.eval()(images) - second.eval()(images)).abs().max())


def failure_of(error: Exception) -> tuple[str, str]:
    """The reason and the message of a candidate's failure."""
    if isinstance(error, Diverged):
        return "hopeless" if isinstance(error, Hopeless) else "nan", str(error)
    no_memory = "can't allocate memory" in str(error) or "bad_alloc" in str(error)
    oom = no_memory or isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
    return "oom" if oom else "error", _one_line(error)


def _failure(request: Request, reason: str, message: str) -> Outcome:
    return Outcome(request.number, FAILED, reason, message)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]
