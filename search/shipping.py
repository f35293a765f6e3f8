"""Shipping the chosen candidate into the MLflow model registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from search.config import SearchConfig
from search.drive import Drive
from search.folder import RunRecord
from search.registry import RegisteredModel, RegistryRefused, register
from search.report import Finals
from search.run_tracking import make_tracker, project_all
from search.tracking import TrackingError
from workers.checkpoint import Deployed, load_candidate
from workers.evaluation import Evaluation
from workers.finals import FinalResult, pixels
from workers.measure.sameness import Sameness


def ship(run: Drive, finals: Finals, evaluations: Iterable[Evaluation], results: Mapping[str, FinalResult]) -> Finals:
    """Register the chosen candidate, once per run, and close the run in MLflow; what stands in the way becomes a note.

    A registry that cannot be reached leaves the run complete: `niwaki export RUN --register` makes up for it.
    """
    if finals.chosen is not None and run.record.registered is None:
        finals = _register(run, finals, results[finals.chosen])
    try:
        project_all(run.config, run.record, evaluations, final_metrics(finals))
    except TrackingError as error:
        run.view.warn(str(error))
        finals = replace(finals, notes=(*finals.notes, str(error)))
    return replace(finals, registered=run.record.registered)


def _register(run: Drive, finals: Finals, result: FinalResult) -> Finals:
    try:
        if result.sameness is None:
            raise RegistryRefused(f"{finals.chosen} could not be exported")
        weights = run.folder.weights / f"{finals.stem(str(finals.chosen))}.safetensors"
        files = [weights, *filter(None, [result.onnx])]
        images = pixels(run.preflight.splits.validation.subset(np.arange(8)))
        model = register_candidate(run.config, run.record, finals, files, result.sameness, images)
    except (RegistryRefused, TrackingError) as error:
        run.view.warn(f"not registered: {error}")
        return replace(finals, notes=(*finals.notes, f"Not registered: {error}"))
    run.note(registered=model.uri)
    return finals


def final_metrics(finals: Finals) -> dict[str, float]:
    """What the search's own MLflow run ends with."""
    metrics = {
        "hypervolume": finals.hypervolume.validation,
        "hypervolume_held_out": finals.hypervolume.test,
        "base_test_accuracy": finals.base.test_accuracy,
    }
    chosen = finals.chosen_network
    if chosen is not None:
        metrics |= {"chosen_test_accuracy": chosen.test_accuracy, "chosen_params": chosen.params}
    return metrics


def register_candidate(
    config: SearchConfig,
    record: RunRecord,
    finals: Finals,
    files: Sequence[Path],
    sameness: Sameness,
    images: Tensor,
    candidate: str | None = None,
    name: str | None = None,
    alias: str | None = None,
) -> RegisteredModel:
    """Register a trained candidate of the run's front (default: the chosen one) under an alias.

    Args:
        files: its weights first, then its exports.
        images: a few, float32 ``[N, C, H, W]`` in [0, 1], as an example of the input.

    Raises:
        RegistryRefused: its forms do not agree within ``export.tolerance``.
        TrackingError: MLflow cannot be reached.
    """
    candidate = candidate or finals.chosen
    measured = next(m for m in finals.front if m.candidate == candidate)
    network, about = load_candidate(files[0], (config.network.name,))
    tracker = make_tracker(config, record)
    tracker.project(())
    return register(
        deployed=Deployed(network, about.mean, about.std).eval(),
        example=images[:8],
        name=name or config.export.register_as or f"niwaki-{config.name}",
        alias=alias or config.export.alias,
        tags={
            "niwaki.run": record.id,
            "niwaki.candidate": measured.candidate,
            "test_accuracy": f"{measured.test_accuracy:.6f}",
            "validation_accuracy": f"{measured.validation_accuracy:.6f}",
            "params": str(measured.params),
            "macs": str(measured.macs),
        },
        files=list(files),
        store=tracker.store,
        run_id=tracker.parent,
        sameness=sameness,
        tolerance=config.export.tolerance,
    )
