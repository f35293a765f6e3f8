"""Shipping the chosen candidate: into the MLflow model registry, or out of a run as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from search.config import SearchConfig
from search.folder import RunFolder, RunRecord
from search.registry import RegisteredModel, RegistryRefused, register
from search.report import Finals
from search.run_tracking import make_tracker
from search.tracking import TrackingError
from search.view import View
from workers.checkpoint import Deployed, load_candidate
from workers.data import Splits
from workers.finals import FinalResult, pixels
from workers.measure.sameness import Sameness


def ship(
    config: SearchConfig,
    folder: RunFolder,
    record: RunRecord,
    finals: Finals,
    result: FinalResult,
    splits: Splits,
    view: View,
) -> Finals:
    """Register the chosen candidate once per run; what stands in the way becomes a note, not an end.

    A registry that cannot be reached leaves the run complete: `niwaki export RUN --register` makes up for it.
    """
    if record.registered is not None or finals.chosen is None:
        return finals
    assert result.sameness is not None
    weights = folder.weights / f"{finals.chosen}.safetensors"
    try:
        model = register_candidate(
            config, record, finals, finals.chosen, weights, [p for p in (result.onnx,) if p], result.sameness, splits
        )
    except (RegistryRefused, TrackingError) as error:
        view.warn(f"not registered: {error}")
        return replace(finals, notes=(*finals.notes, f"Not registered: {error}"))
    folder.save_record(replace(record, registered=model.uri))
    return replace(finals, registered=model.uri)


def register_candidate(
    config: SearchConfig,
    record: RunRecord,
    finals: Finals,
    candidate: str,
    weights: Path,
    files: list[Path],
    sameness: Sameness,
    splits: Splits,
    name: str | None = None,
    alias: str | None = None,
) -> RegisteredModel:
    """Register a trained candidate of the run's front under an alias.

    Raises:
        RegistryRefused: its forms do not agree within ``export.tolerance``.
        TrackingError: MLflow cannot be reached.
    """
    network, about = load_candidate(weights, (config.network.name,))
    measured = next(m for m in finals.front if m.candidate == candidate)
    tracker = make_tracker(config, record)
    tracker.project(())
    return register(
        deployed=Deployed(network, about.mean, about.std).eval(),
        example=pixels(splits.validation)[:8],
        name=name or config.export.register_as or f"niwaki-{config.name}",
        alias=alias or config.export.alias,
        tags={
            "niwaki.run": record.id,
            "niwaki.candidate": candidate,
            "test_accuracy": f"{measured.test_accuracy:.6f}",
            "validation_accuracy": f"{measured.validation_accuracy:.6f}",
            "params": str(measured.params),
            "macs": str(measured.macs),
        },
        files=[weights, *files],
        store=tracker.store,
        run_id=tracker.parent,
        sameness=sameness,
        tolerance=config.export.tolerance,
    )
