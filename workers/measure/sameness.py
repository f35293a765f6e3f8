"""Sameness, proven: the masked base network, the compact one and its exports give the same logits."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from workers.checkpoint import load_candidate
from workers.deployed import Deployed
from workers.export import run_onnx, run_program


@dataclass(frozen=True)
class Comparison:
    """The compact network against another form of itself.

    Attributes:
        name: the other form: ``masked``, ``reloaded``, ``onnx`` or ``program``.
        difference: largest absolute difference of logits, relative to max(1, largest absolute logit); infinite
            where either form gives something not finite or of another shape.
        agreement: share of the images, 0 to 1, on which both name the same class.
    """

    name: str
    difference: float
    agreement: float

    def __str__(self) -> str:
        return f"compact = {self.name}: largest difference {self.difference:.2g}, same class {self.agreement:.1%}"


@dataclass(frozen=True)
class Sameness:
    """All comparisons of one candidate, on ``images`` images."""

    comparisons: tuple[Comparison, ...]
    images: int

    @property
    def worst(self) -> float:
        """The largest difference; infinite where nothing was compared."""
        return max((c.difference for c in self.comparisons), default=float("inf"))

    def passes(self, tolerance: float) -> bool:
        """Whether no difference exceeds ``tolerance``.

        Agreement is not asked for besides: two logits closer than the tolerance may swap places by rounding alone.
        """
        return self.worst <= tolerance

    def compared(self, name: str) -> bool:
        """Whether the form ``name`` was compared."""
        return any(c.name == name for c in self.comparisons)

    @property
    def metrics(self) -> dict[str, float]:
        """``same_NAME`` (difference) and ``agree_NAME`` (share) per comparison, as the archive and MLflow take them."""
        return {
            **{f"same_{c.name}": c.difference for c in self.comparisons},
            **{f"agree_{c.name}": c.agreement for c in self.comparisons},
        }

    def __str__(self) -> str:
        return "\n".join(str(c) for c in self.comparisons)


def prove_sameness(
    network: nn.Module,
    base_masked: nn.Module,
    weights_path: Path,
    onnx_path: Path | None,
    program_path: Path | None,
    images: Tensor,
    factories: tuple[str, ...] = (),
) -> Sameness:
    """Compare the compact ``network`` with its masked twin, with itself reloaded, and with its exports.

    All run on the CPU in float32 behind the normalisation that the weights file records; ``network`` and
    ``base_masked`` are left as they are.

    Args:
        network: the compact network, without normalisation.
        base_masked: its full-size twin (:func:`spaces.surgery.expand`), without normalisation.
        weights_path: written by :func:`workers.checkpoint.save_candidate`.
        onnx_path: written by :func:`workers.export.export_onnx`, or None to leave it out.
        program_path: written by :func:`workers.export.export_program`, or None to leave it out.
        images: float32 ``[N, C, H, W]`` in [0, 1]; 64 real ones say more than noise.
        factories: see :func:`workers.checkpoint.load_candidate`.

    Raises:
        CheckpointError: the weights file cannot be loaded.
        ExportError: an exported file cannot be loaded.
        ValueError: no images.
    """
    if len(images) == 0:
        raise ValueError("sameness: no images to compare on")
    reloaded, about = load_candidate(weights_path, factories)
    pixels = images.detach().to("cpu", torch.float32)

    def logits(module: nn.Module) -> np.ndarray:
        deployed = Deployed(copy.deepcopy(module).cpu(), about.mean, about.std)
        with torch.no_grad():
            result: Tensor = deployed(pixels)
        return result.numpy()

    ours = logits(network)
    others = {"masked": logits(base_masked), "reloaded": logits(reloaded)}
    if onnx_path is not None:
        others["onnx"] = run_onnx(onnx_path, pixels.numpy())
    if program_path is not None:
        others["program"] = run_program(program_path, pixels.numpy())
    return Sameness(tuple(compare(name, ours, theirs) for name, theirs in others.items()), len(images))


def compare(name: str, ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    """Compare logits ``[N, classes]`` of the compact network with those of the form ``name``."""
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return Comparison(name, float("inf"), 0.0)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    scale = max(1.0, float(np.abs(ours).max()))
    agreement = float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
    return Comparison(name, float(np.abs(ours - theirs).max()) / scale, agreement)
