"""Whether what an earlier run measured means the same in this one: refusals that say what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from search.config import SearchConfig
from search.loading import ConfigError
from search.surrogate.inputs import PROBED, Candidate, matrix
from search.surrogate.surrogate import Lesson
from spaces.genome import Genome
from spaces.space import Space
from workers.evaluation import Evaluation
from workers.tensors import load_tensors

MEANING = ("seed", "data", "network", "base_training", "training", "probe", "space")
"""Settings and sections that decide what a measurement means: splits and base weights depend on the seed."""

FREE = {"data": {"root", "download"}, "probe": {"latency"}, "space": {"min_keep", "min_width", "mutation"}}
"""Settings in these sections that do not: where data lie, what is timed, and which genomes are proposed."""


def check_meaning(path: Path, other: SearchConfig, config: SearchConfig) -> None:
    """Refuse the run in ``path``, made with ``other``, where its settings give measurements another meaning.

    Raises:
        ConfigError: they differ; it names each setting with both values.
    """
    theirs, ours = _meaning(other), _meaning(config)
    differing = [f"{name} {theirs[name]!r} (here {ours[name]!r})" for name in ours if theirs[name] != ours[name]]
    if differing:
        raise ConfigError(
            f"surrogate.warm_start: {path} was made with {', '.join(differing)}, so its accuracies mean something "
            "else; leave it out, or give this run the same settings"
        )


def _meaning(config: SearchConfig) -> dict[str, Any]:
    """Settings by their dotted names, without those that are free."""
    content = config.model_dump(mode="json", include=set(MEANING))
    found: dict[str, Any] = {}
    for section in MEANING:
        if isinstance(content[section], dict):
            names = [name for name in content[section] if name not in FREE.get(section, ())]
            found.update({f"{section}.{name}": content[section][name] for name in names})
        else:
            found[section] = content[section]
    return found


def check_weights(path: Path, config: SearchConfig) -> None:
    """Refuse the run in ``path`` where the user's own base weights were replaced since, under the same name.

    Raises:
        ConfigError: they were.
        CheckpointError: either file is damaged.
    """
    kept = path / "weights" / "base.safetensors"
    if config.network.weights is None or not kept.exists():
        return
    (theirs, _), (ours, _) = load_tensors(kept), load_tensors(Path(config.network.weights))
    if theirs.keys() != ours.keys() or not all(torch.equal(theirs[name], ours[name]) for name in ours):
        raise ConfigError(
            f"surrogate.warm_start: {path} began from other base weights than are in {config.network.weights} now; "
            f"leave it out, or set network.weights={kept}"
        )


def check_candidate(path: Path, training: Evaluation, space: Space) -> None:
    """Refuse a genome that no longer stands for the network that was measured; a configuration holds no code.

    Raises:
        ConfigError: it does not fit ``space``, or has other parameters there.
    """
    genome, params = training.request.genome, training.metrics.get("params")
    if not _fits(genome, space) or space.cost(genome).params != params:
        raise ConfigError(
            f"surrogate.warm_start: {path}: candidate {genome.id} is another network here than there; the network's "
            "code, the data or torch-pruning's version has changed: leave the run out"
        )


def _fits(genome: Genome, space: Space) -> bool:
    blends = [len(row) for row in genome.blend] == [len(space.criteria)] * space.blends
    return genome.growth in space.layouts and len(genome.keep) == len(space.groups) and blends


def check_inputs(space: Space, lessons: list[Lesson]) -> None:
    """Refuse probes that lack what a forecast is made from: another version may have measured less.

    Raises:
        ConfigError: one lacks what others have; it names both.
    """
    candidates = [Candidate(p.request.genome, p.metrics, p.outcome.embedding) for p, _ in lessons]
    try:
        matrix(space, candidates, PROBED)
    except ValueError as error:
        raise ConfigError(f"surrogate.warm_start: {error}; leave out the run that another version made") from None
