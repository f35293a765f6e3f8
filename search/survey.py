"""The base network tried before any work: built, run, traced; and how long it and some random candidates take.

All of this runs the network's own code. Where that is the user's, it does so in a process apart, under limits: a
factory that hangs, dies or eats memory is refused like any other bad input.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from search.config import SearchConfig
from search.loading import ConfigError
from search.sizing import make_space
from spaces.criteria import resolve, score_groups
from spaces.doctor import Guard
from spaces.genome import Genome
from spaces.growth import Growth, grow_structure, growths
from spaces.layout import Layout
from spaces.networks import NetworkSpec
from spaces.randomness import numpy_generator, torch_generator
from spaces.space import Space
from spaces.surgery import compact
from workers.apart import Apart, Lost
from workers.data import Images
from workers.evaluation import PUSH_PRUNE
from workers.limits import memory_limit, time_limit
from workers.losses import make_objective
from workers.measure.accuracy import last_linear
from workers.prepare import base_network, checked_layout, load_base
from workers.tensors import CheckpointError
from workers.threads import torch_threads
from workers.train import TrainSettings

MOST_GROWTHS = 64
"""Growths that a search prepares; each is traced and scored once, before the first candidate."""

IMAGES = 64
"""Training images that the networks are tried on."""

CANDIDATES = 4
"""Random candidates that are timed."""

BUILD_SECONDS = 60.0
"""For a user's network to be built and run on a few images."""

TRACE_SECONDS = 600.0
"""For one growth's groups to be found and tried."""

TRIAL_SECONDS = 20.0
"""For one narrow trial network to run on a few images, and for one random candidate to be timed."""


@dataclass(frozen=True)
class Pace:
    """Seconds per image of a forward pass, and of a training step."""

    forward: float
    step: float


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        layouts: by growth, from untrained weights; groups do not depend on weights.
        base: the base network's pace.
        candidates: the mean pace of random candidates; the base network's where none could be timed.
    """

    layouts: dict[Growth, Layout]
    base: Pace
    candidates: Pace


def take_survey(config: SearchConfig, spec: NetworkSpec, train: Images) -> Survey:
    """Try the network of a configuration on some of its training images.

    Raises:
        ConfigError: the network or a criterion cannot be used, hangs, or ends its process.
        CheckpointError: ``network.weights`` cannot be used.
    """
    some = train.subset(np.arange(min(IMAGES, len(train))))
    try:
        return _take(config, spec, some, lightly=False)
    except _Narrow:
        return _take(config, spec, some, lightly=True)


class _Narrow(RuntimeError):
    """The base network works, and the trial of a narrower one took its process down."""


def _take(config: SearchConfig, spec: NetworkSpec, images: Images, lightly: bool) -> Survey:
    apart = any(":" in name for name in (config.network.name, *config.space.criteria))
    vectors: tuple[Growth, ...] = ()
    with closing(_open(apart, config, spec, images, lightly)) as source:
        try:
            vectors = source.receive(BUILD_SECONDS)
            layouts = {g: source.receive(TRACE_SECONDS) for g in vectors}
            base = source.receive(TRACE_SECONDS)
        except (TimeoutError, Lost) as error:
            if vectors and not lightly:
                raise _Narrow from None
            raise ConfigError(
                f"network.name: {spec.name!r} could not be tried: {error}; look for endless loops and for what it "
                "allocates"
            ) from None
        except CheckpointError:
            raise
        except ValueError as error:
            raise ConfigError(str(error)) from None
        except Exception as error:
            if not apart:
                raise
            raise ConfigError(f"network.name: {spec.name!r} could not be tried ({_in_short(error)})") from None
        paces = list(_paces(source))
    return Survey(layouts, base, _mean(paces) if paces else base)


class _Source(Protocol):
    def receive(self, seconds: float) -> Any: ...

    def close(self) -> None: ...


class _Here:
    """The survey in this process: for networks that come with Niwaki."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def receive(self, seconds: float) -> Any:
        return next(self._items)

    def close(self) -> None:
        self._items.close()  # type: ignore[attr-defined]


def _open(apart: bool, config: SearchConfig, spec: NetworkSpec, images: Images, lightly: bool) -> _Source:
    if apart:
        seconds = min(TRIAL_SECONDS, config.limits.probe_seconds)
        return Apart(_survey, config, spec, images, seconds, lightly)
    return _Here(_survey(config, spec, images, None, lightly))


def _paces(source: _Source) -> Iterator[Pace]:
    """Those that come in time: a forecast is a guide, and a candidate that fails will be a row of the archive."""
    for _ in range(CANDIDATES):
        try:
            pace = source.receive(TRIAL_SECONDS)
        except (TimeoutError, Lost):
            return
        if pace is not None:
            yield pace


def _mean(paces: list[Pace]) -> Pace:
    return Pace(sum(p.forward for p in paces) / len(paces), sum(p.step for p in paces) / len(paces))


def _survey(
    config: SearchConfig, spec: NetworkSpec, images: Images, trial_seconds: float | None, lightly: bool
) -> Iterator[Any]:
    """The growths; a layout for each; the base network's pace; the paces of random candidates, None where one fails."""
    with torch_threads(config.cluster.threads):  # a driver shares its machine with workers
        network = base_network(spec, config.seed)
        pixels, labels = torch.tensor(images.images, dtype=torch.float32) / 255, torch.tensor(images.labels)
        _check_outputs(network, spec, pixels)
        if config.network.weights is not None:
            _check_outputs(load_base(spec, config.seed, Path(config.network.weights)), spec, pixels)
        _check_losses(config, network)
        vectors = _growths(config, network)
        yield vectors
        layouts: dict[Growth, Layout] = {}
        guard: Guard = nullcontext
        if trial_seconds is not None:
            guard = partial(_limits, trial_seconds, config.limits.memory_mb)
        for growth in vectors:
            grown = grow_structure(network, growth)
            layouts[growth] = checked_layout(grown, spec.shape, config.network.keep, guard, lightly)
            yield layouts[growth]
        _try_criteria(config, network, layouts[vectors[0]], pixels, labels)
        try:
            base = _pace(network, pixels, labels)
        except Exception as error:
            raise ValueError(f"network.name: {spec.name!r} fails in training ({_in_short(error)})") from error
        yield base
        space = make_space(config, layouts)
        rng = numpy_generator(config.seed, "forecast")
        for _ in range(CANDIDATES):
            yield _candidate_pace(network, space, rng, guard, pixels, labels)


def _check_losses(config: SearchConfig, network: nn.Module) -> None:
    for section in ("base_training", "training"):
        settings = TrainSettings(**getattr(config, section).model_dump())
        try:
            make_objective(network, settings, torch_generator(config.seed, "survey"))
        except ValueError as error:
            raise ValueError(f"{section}: {error}") from None
    if PUSH_PRUNE in config.controls.recipes and last_linear(network) is None:
        raise ValueError(
            "controls.recipes: push_prune shapes the features of a linear classifier, and the network has none; leave "
            "push_prune out"
        )


def _check_outputs(network: nn.Module, spec: NetworkSpec, pixels: Tensor) -> None:
    """One finite logit a class and image, for any number of images."""
    name = f"network.name: {spec.name!r}"
    if not any(True for _ in network.parameters()):
        raise ValueError(f"{name} has no parameters: there is nothing to train or to remove")
    for count in (2, 3):
        try:
            with torch.no_grad():
                logits = network.eval()(pixels[:count])
        except Exception as error:
            raise ValueError(
                f"{name} fails on images of shape {list(spec.shape)} ({_in_short(error)}); change data.size, or use "
                "another network"
            ) from error
        if not isinstance(logits, Tensor):
            raise ValueError(f"{name} returns {type(logits).__name__}; it must return one tensor of logits")
        if logits.shape != (count, spec.classes):
            raise ValueError(
                f"{name} returns shape {list(logits.shape)} for {count} images; it must be [{count}, {spec.classes}], "
                "one logit for each class of the data"
            )
        if not logits.isfinite().all():
            raise ValueError(f"{name} returns values that are not finite numbers")


def _growths(config: SearchConfig, network: nn.Module) -> tuple[Growth, ...]:
    vectors = growths(network, config.space.most_growth)
    if len(vectors) > MOST_GROWTHS:
        raise ValueError(
            f"space.growth: {config.space.growth} makes {len(vectors)} growths of this network, at most {MOST_GROWTHS} "
            "are prepared; lower it, or use fewer stages"
        )
    return tuple(sorted(vectors))


def _try_criteria(config: SearchConfig, network: nn.Module, layout: Layout, pixels: Tensor, labels: Tensor) -> None:
    """Criteria of the user's own, on untrained weights."""
    own = resolve([name for name in config.space.criteria if ":" in name])
    if not own:
        return

    def generator(criterion: str, group: str) -> torch.Generator:
        return torch_generator(config.seed, "trial", criterion, group)

    try:
        score_groups(network, layout, own, pixels, labels, config.probe.batch_size, generator)
    except ValueError as error:
        raise ValueError(f"space.criteria: {' '.join(str(error).split())}") from error


def _candidate_pace(
    network: nn.Module, space: Space, rng: np.random.Generator, guard: Guard, pixels: Tensor, labels: Tensor
) -> Pace | None:
    try:
        candidate = _structure(network, space.sample(rng), space)
        with guard():
            return _pace(candidate, pixels, labels)
    except Exception:
        return None


@contextmanager
def _limits(seconds: float, megabytes: int | None) -> Iterator[None]:
    with memory_limit(megabytes), time_limit(seconds):
        yield


def _structure(base: nn.Module, genome: Genome, space: Space) -> nn.Module:
    """A network of the genome's shape; which channels stay does not matter for its speed."""
    layout, widths = space.layout(genome), space.widths(genome)
    kept = {group.name: np.arange(width) for group, width in zip(layout.groups, widths, strict=True)}
    return compact(grow_structure(base, genome.growth) if any(genome.growth) else base, layout, kept)


def _pace(network: nn.Module, pixels: Tensor, labels: Tensor) -> Pace:
    """The faster of two tries after a warm-up."""
    _time(network, pixels, labels)
    forward, step = min(_time(network, pixels, labels) for _ in range(2))
    return Pace(forward / len(labels), step / len(labels))


def _time(network: nn.Module, pixels: Tensor, labels: Tensor) -> tuple[float, float]:
    started = time.perf_counter()
    with torch.inference_mode():
        network.eval()(pixels)
    between = time.perf_counter()
    nn.functional.cross_entropy(network.train()(pixels), labels).backward()  # type: ignore[no-untyped-call]
    return between - started, time.perf_counter() - between


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
