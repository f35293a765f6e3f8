"""Before any work: does the configuration fit the data and the network, and can the budget be met at all?"""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from search.config import DataConfig, SearchConfig
from search.loading import ConfigError
from search.reduced import advised_images
from search.sizing import make_space
from search.strategies import check_strategy
from search.survey import Survey, take_survey
from spaces.criteria import resolve
from spaces.layout import Cost, Layout
from spaces.networks import NetworkSpec, check_name
from spaces.space import InfeasibleBudget, Space
from workers.data import DataError, DataRequest, Splits, load_splits
from workers.proxies import check_proxies
from workers.tensors import CheckpointError, load_tensors

DECODED = ".decoded"
"""Folder beside the runs, which share it: decoded images of sets too large for memory."""

TRACKING_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks", "databricks-uc", "uc")
"""What MLflow understands without a plugin; its store of plain files it has given up."""


@dataclass(frozen=True)
class Preflight:
    """What is known before the first second of work.

    Attributes:
        survey: layouts from untrained weights (groups do not depend on weights), and the pace of networks.
        base: cost of the uncompressed base network.
        least: cost of the smallest genome.
        probe_images: training images for a probe.
    """

    config: SearchConfig
    splits: Splits
    spec: NetworkSpec
    space: Space
    survey: Survey
    base: Cost
    least: Cost
    probe_images: int

    @property
    def layout(self) -> Layout:
        """The ungrown base network's layout."""
        return self.space.ungrown


def check(config: SearchConfig) -> Preflight:
    """Load the data, build the network untrained, and make the space.

    Raises:
        DataError: the data cannot be used.
        CheckpointError: ``network.weights`` cannot be used.
        ConfigError: a setting does not fit the data, the network, the machine or the budget.
    """
    _check_settings(config)
    splits = load_data(config.data, config.seed, config.out / DECODED)
    spec = NetworkSpec(config.network.name, splits.train.shape, splits.train.classes, config.network.arguments)
    try:
        survey = take_survey(config, spec, splits.train)
    except CheckpointError as error:
        raise CheckpointError(f"network.weights: {error}") from None
    space = make_space(config, survey.layouts)
    layout = space.ungrown
    if not layout.groups:
        reasons = "; ".join(f"{x.name}: {x.reason}" for x in layout.locked[:3])
        raise ConfigError(
            f"network.name: {spec.name!r} has no channels that may be removed ({reasons}); `niwaki inspect` says more"
        )
    try:
        space.repair(space.least())
    except InfeasibleBudget as error:
        raise ConfigError(str(error)) from None
    if not space.varies_ratios and space.budget.met(layout.cost(layout.full())):
        raise ConfigError(
            "budget: the whole base network meets it, so space.blend: paper would remove nothing; lower it, or set "
            "space.blend: joint"
        )
    images = config.probe.images or advised_images(splits.train, config.seed)
    base, least = layout.cost(layout.full()), space.cost(space.least())
    return Preflight(config, splits, spec, space, survey, base, least, images)


def load_data(data: DataConfig, seed: int, cache: Path | None = None) -> Splits:
    """The data set; ``seed`` decides the splits, images too many for memory go to files in ``cache``.

    Raises:
        DataError: it cannot be used; the message names the setting.
    """
    try:
        return load_splits(DataRequest(**data.model_dump(), seed=seed, cache=cache))
    except DataError as error:
        own = str(error).partition(" ")[0].rstrip(":") in DataConfig.model_fields
        raise DataError(f"data{'.' if own else ': '}{error}") from None


def _check_settings(config: SearchConfig) -> None:
    """All that can be refused before data are loaded, or even downloaded."""
    try:
        resolve([name for name in config.space.criteria if ":" not in name])
        check_name(config.network.name)
        check_strategy(config.search.strategy)
        check_proxies(config.probe.proxies)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.network.weights is not None:
        _check_weights(Path(config.network.weights))
    _check_out(config)
    if config.tracking.enabled:
        _check_tracking(config)
    if (config.cluster.gpus_per_worker or 0) > torch.cuda.device_count() and config.cluster.address is None:
        raise ConfigError(
            f"cluster.gpus_per_worker: {config.cluster.gpus_per_worker:g} is asked and this machine has "
            f"{torch.cuda.device_count()} GPUs; set 0, or give cluster.address"
        )


def _check_weights(path: Path) -> None:
    try:
        tensors, _ = load_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"network.weights: {error}") from None
    strange = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if strange:
        raise CheckpointError(
            f"network.weights: {path}: {strange[0]!r} holds values that are not finite numbers",
            "use weights of a training that did not diverge",
        )


def _check_out(config: SearchConfig) -> None:
    """The run's folder can be made; nothing is made yet."""
    place = config.folder.absolute()
    while not place.exists():
        place = place.parent
    field = "name" if place == config.folder.absolute() else "out"
    if not place.is_dir():
        raise ConfigError(f"{field}: {place} is a file, the run {config.folder} needs a folder there; choose another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"{field}: {place} cannot be written; choose another folder (--out DIR)")


def _check_tracking(config: SearchConfig) -> None:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or config.tracking.uri
    if uri is None:
        return
    scheme = urlsplit(uri).scheme.partition("+")[0]
    plugins = {point.name for point in importlib.metadata.entry_points(group="mlflow.tracking_store")}
    if scheme not in TRACKING_SCHEMES and uri != "databricks" and scheme not in plugins:
        name = "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "tracking.uri"
        raise ConfigError(
            f"{name}: MLflow has no store of kind {scheme or 'plain path'!r}; use sqlite:///FILE or http://…"
        )
