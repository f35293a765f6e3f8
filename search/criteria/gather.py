"""From a configuration to the report: train or read the base network as a search does, score it, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from search.config import SearchConfig
from search.criteria.report import CriteriaReport, GroupAgreement, Measured
from search.drive import run_settings
from search.folder import RunFolder
from search.loading import ConfigError, parse_overrides
from search.preflight import Preflight, check
from spaces.agreement import jaccard, spearman
from spaces.criteria import CRITERIA, resolve
from spaces.criteria.scoring import left_out
from spaces.foundation import Trunk
from workers.jobs import RunSettings, VisibleData, base_job, trunk_job
from workers.prepare import adopt_base
from workers.threads import torch_threads


def settings_for(network: str, source: str, overrides: Sequence[str]) -> SearchConfig:
    """The search whose base network is looked at: by all criteria, of which ``random`` is the yardstick.

    Raises:
        ConfigError: ``overrides`` (``a.b=value``) do not fit.
    """
    content = {
        "name": "criteria",
        "data": {"source": source},
        "network": {"name": network},
        "space": {"criteria": list(CRITERIA), "growth": 0},
        "probe": {"images": 256},  # nothing is probed, so there is no need to find out how many
    }
    return parse_overrides(content, overrides)


def compare_criteria(config: SearchConfig, width: float, step: Callable[[str], None]) -> tuple[CriteriaReport, bytes]:
    """Score the ungrown base network of a search by all its criteria, and compare what they say of each group.

    Args:
        config: that search.
        width: share of each group's channels that stay where pruned sets are compared, in (0, 1).
        step: is told what begins.

    Returns:
        The report, and the safetensors file of the base network's weights.

    Raises:
        ConfigError, DataError, CheckpointError: bad input, refused before any training where it can be.
        Diverged: the base network's training did.
    """
    if not 0 < width < 1:
        raise ConfigError(f"--width: must lie between 0 and 1, got {width:g}; what stays or goes must be a choice")
    if len(config.space.criteria) < 2:
        raise ConfigError("space.criteria: one criterion has none to agree with; name two or more, or leave it out")
    preflight = check(config)
    with tempfile.TemporaryDirectory(prefix="niwaki-criteria-") as folder, torch_threads(config.cluster.threads):
        settings = run_settings(preflight, RunFolder(Path(folder) / "run"))
        accuracy, trunk = _score(preflight, settings, step)
        weights = settings.base_weights.read_bytes()
    return _report(preflight, trunk, accuracy, width), weights


def _score(preflight: Preflight, settings: RunSettings, step: Callable[[str], None]) -> tuple[float, Trunk]:
    config, data = preflight.config, VisibleData.of(preflight.splits)
    if config.network.weights is None:
        epochs = config.base_training.epochs
        step(f"training {config.network.name}: {epochs} epochs of {len(data.train):,} images")
    else:
        adopt_base(Path(config.network.weights), settings.base_weights)
    accuracy = base_job(data, settings)(None)
    groups, criteria = len(preflight.layout.groups), len(settings.criteria)
    step(f"base network: {accuracy:.2%} on validation; scoring {groups} groups by {criteria} criteria")
    layouts = preflight.space.layouts
    try:
        return accuracy, trunk_job(data, settings, layouts)(min(layouts))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _report(preflight: Preflight, trunk: Trunk, accuracy: float, width: float) -> CriteriaReport:
    config, train = preflight.config, preflight.splits.train
    criteria = config.space.criteria
    silent = left_out(trunk.ranks, criteria)
    groups = []
    for name, table in trunk.ranks.items():
        size = table.shape[1]
        kept = int(np.clip(round(width * size), 1, max(size - 1, 1)))
        groups.append(GroupAgreement(name, size, kept, spearman(table), jaccard(table, kept), silent.get(name, ())))
    measured = Measured(
        network=config.network.name,
        source=config.data.source,
        shape=train.shape,
        classes=train.classes,
        training=len(train),
        scoring=min(config.probe.scoring_images, len(train)),
        weights=config.network.weights,
        epochs=config.base_training.epochs,
        accuracy=accuracy,
        width=width,
        seed=config.seed,
    )
    looks = tuple("nothing" if c.name == "random" else "data" if c.needs else "weights" for c in resolve(criteria))
    return CriteriaReport(measured, criteria, looks, tuple(groups))
