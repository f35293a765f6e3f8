"""Taking another network out of a finished run: picked by limits, exported afresh, compared, registered if asked."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search.config import SearchConfig, check_alias, check_model_name
from search.preflight import load_data
from search.report import Finals, Measured
from search.report.wording import compact, count, milliseconds, percent, scientific, signed
from search.run import Result, load_result
from search.shipping import register_candidate
from spaces.randomness import torch_generator
from workers.checkpoint import Deployed, load_candidate
from workers.data import DataError
from workers.export import export_onnx, export_program, run_onnx, run_program
from workers.finals import SAMPLES, pixels
from workers.measure.sameness import Comparison, Sameness, compare

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


class ExportRefused(ValueError):
    """Nothing in the run fits what was asked, or the file cannot be written; says what there is instead."""


@dataclass(frozen=True)
class Limits:
    """What the network may cost, or which one it shall be."""

    params: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    accuracy_drop: float | None = None
    candidate: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        drop: validation accuracy of the base network minus that of this one.
        comparison: the trained network against the exported file.
        images: what both were run on.
        registered: the registered model as a URI.
    """

    file: Path
    measured: Measured
    drop: float
    comparison: Comparison
    images: str
    registered: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        m = self.measured
        return {
            "file": str(self.file),
            "candidate": m.candidate,
            "params": m.params,
            "macs": m.macs,
            "latency_ms": m.latency.median_ms if m.latency else None,
            "validation_accuracy": m.validation_accuracy,
            "test_accuracy": m.test_accuracy,
            "difference": self.comparison.difference,
            "registered": self.registered,
        }

    def lines(self) -> list[str]:
        """For people."""
        m = self.measured
        latency = f", {milliseconds(m.latency.median_ms)}" if m.latency else ""
        lines = [
            f"{self.file}: {m.candidate}, {count(m.params)} parameters, {compact(m.macs)} MACs{latency}",
            f"validation accuracy {percent(m.validation_accuracy)} ({signed(-100 * self.drop)} points to the base "
            f"network), test accuracy {percent(m.test_accuracy)}",
            f"file and trained network differ by {scientific(self.comparison.difference)} at most, on {self.images}",
        ]
        return [*lines, f"registered as {self.registered}"] if self.registered else lines


def export_candidate(
    path: Path,
    limits: Limits,
    format_: str = "onnx",
    to: Path | None = None,
    register_as: str | None = None,
    alias: str = "champion",
) -> Exported:
    """Export a network of the run in ``path``.

    Raises:
        ConfigError: there is no run, or it is not finished.
        ExportRefused: nothing fits the limits, the format is unknown, or the file cannot be written there.
        CheckpointError: the candidate's weights are gone or damaged.
        ExportError: torch cannot export it.
        RegistryRefused, TrackingError: it cannot be registered.
    """
    if format_ not in SUFFIXES:
        raise ExportRefused(f"--format {format_}: unknown, use onnx or torch")
    if register_as is not None:
        _check_names(register_as, alias)
    result = load_result(path)
    chosen = pick(result.finals, limits)
    config = result.folder.load_config()
    file = to or Path(chosen.candidate + SUFFIXES[format_])
    _check_file(file, format_)
    images, origin = _images(config, result.finals.data.shape)
    sameness = _export(result, config, chosen, file, images)
    uri = None
    if register_as is not None:
        weights = result.folder.weights / f"{chosen.stem}.safetensors"
        record = result.folder.load_record()
        model = register_candidate(
            config, record, result.finals, [weights, file], sameness, images, chosen.candidate, register_as, alias
        )
        uri = model.uri
    drop = result.finals.base.validation_accuracy - chosen.validation_accuracy
    return Exported(file, chosen, drop, sameness.comparisons[-1], origin, uri)


def _check_names(register_as: str, alias: str) -> None:
    for option, check, value in (("register", check_model_name, register_as), ("alias", check_alias, alias)):
        try:
            check(value)
        except ValueError as error:
            raise ExportRefused(f"--{option}: {error}") from None


def _check_file(file: Path, format_: str) -> None:
    folder = file.absolute().parent
    if file.suffix != SUFFIXES[format_]:
        raise ExportRefused(f"--to {file}: a file of format {format_} ends in {SUFFIXES[format_]}")
    if not folder.is_dir():
        raise ExportRefused(f"--to {file}: there is no folder {folder}; make it first")
    if file.is_dir():
        raise ExportRefused(f"--to {file}: is a folder; name a file in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportRefused(f"--to {file}: {folder} cannot be written; choose another folder")


def pick(finals: Finals, limits: Limits) -> Measured:
    """The most accurate network within limits (by validation); with an accuracy drop allowed, the cheapest within it.

    Raises:
        ExportRefused: the front has none; says what comes nearest.
    """
    if limits.candidate is not None:
        named = [m for m in finals.front if m.candidate == limits.candidate]
        if not named:
            known = [m.candidate for m in finals.front]
            near = difflib.get_close_matches(limits.candidate, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the front holds {', '.join(known) or 'nothing'}"
            raise ExportRefused(f"--candidate {limits.candidate}: not in the front; {hint}")
        return named[0]
    fitting = [m for m in finals.front if _fits(m, finals, limits)]
    if not fitting:
        raise ExportRefused(_nothing_fits(finals, limits))
    if limits.accuracy_drop is not None:
        return min(fitting, key=lambda m: (m.cost(finals.cost), -m.validation_accuracy))
    return min(fitting, key=lambda m: (-m.validation_accuracy, m.cost(finals.cost)))


def _fits(m: Measured, finals: Finals, limits: Limits) -> bool:
    latency = m.latency.median_ms if m.latency else float("inf")
    drop = finals.base.validation_accuracy - m.validation_accuracy
    return (
        (limits.params is None or m.params <= limits.params)
        and (limits.macs is None or m.macs <= limits.macs)
        and (limits.latency_ms is None or latency <= limits.latency_ms)
        and (limits.accuracy_drop is None or drop <= limits.accuracy_drop)
    )


def _nothing_fits(finals: Finals, limits: Limits) -> str:
    if not finals.front:
        return "the run's front is empty: no candidate was trained within its budget"
    smallest = min(finals.front, key=lambda m: m.cost(finals.cost))
    best = max(finals.front, key=lambda m: m.validation_accuracy)
    told = [
        f"{m.candidate} ({count(m.params)} parameters, {compact(m.macs)} MACs, "
        f"{milliseconds(m.latency.median_ms) if m.latency else 'latency unknown'}, "
        f"{signed(100 * (m.validation_accuracy - finals.base.validation_accuracy))} points)"
        for m in ([smallest] if best is smallest else [smallest, best])
    ]
    return f"no network of the front fits; its smallest and its most accurate: {' and '.join(told)}"


def _images(config: SearchConfig, shape: tuple[int, int, int]) -> tuple[torch.Tensor, str]:
    """Images to compare on: of the validation split; or noise, where the data is not on this machine."""
    try:
        found = pixels(load_data(config.data, config.seed).validation)[:SAMPLES]
        return found, f"{len(found)} validation images"
    except DataError:
        noise = torch.rand(SAMPLES, *shape, generator=torch_generator(config.seed, "export images"))
        return noise, f"{SAMPLES} images of noise (the data set is not here)"


def _export(result: Result, config: SearchConfig, chosen: Measured, file: Path, images: torch.Tensor) -> Sameness:
    weights = result.folder.weights / f"{chosen.stem}.safetensors"
    factories = (config.network.name,)
    network, about = load_candidate(weights, factories)
    deployed = Deployed(network, about.mean, about.std).eval()
    if file.suffix == ".onnx":
        export_onnx(deployed, images[:2], file)
        theirs = run_onnx(file, images.numpy())
    else:
        export_program(deployed, images[:2], file)
        theirs = run_program(file, images.numpy())
    again, _ = load_candidate(weights, factories)
    with torch.no_grad():
        ours = deployed(images).numpy()
        reloaded = Deployed(again, about.mean, about.std).eval()(images).numpy()
    known = tuple(Comparison(n, s.difference, s.agreement) for n, s in chosen.sameness.items() if n == "masked")
    name = "onnx" if file.suffix == ".onnx" else "program"
    return Sameness((*known, compare("reloaded", ours, reloaded), compare(name, ours, theirs)), len(images))
