"""The last word on a trained candidate: exported, proven the same in every form, measured on what is exported.

Only here is the test split looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spaces.foundation import Foundation
from spaces.genome import Genome
from spaces.surgery import expand
from workers.batches import to_tensors
from workers.checkpoint import CandidateFile, Deployed, load_candidate
from workers.data import Images
from workers.export import ExportError, count_program, export_onnx, export_program, run_program
from workers.measure.out_of_distribution import Detection, measure_detection
from workers.measure.sameness import Sameness, prove_sameness

SAMPLES = 64
"""Real images on which the forms of a network are compared."""


@dataclass(frozen=True)
class Final:
    """What to measure: the trained candidate in ``weights``, exported beside it.

    ``full`` asks for exports and the proof of sameness; without it only accuracies are measured (repeated trainings).
    ``mixture`` says that it was trained with ``loss: l_gm``, whose likelihood then shows what it is worth.
    """

    weights: Path
    full: bool = True
    onnx: bool = True
    mixture: bool = False


@dataclass(frozen=True)
class FinalResult:
    """A candidate's final measurements.

    Attributes:
        params, macs: of the exported program; of the network, where it could not be exported.
        bytes: of its float32 parameters and buffers.
        program, onnx: the exported files.
        widths: kept channels per group.
        detection: by kind of image, how surely the likelihood tells it from the test images; empty without ``mixture``.
        problem: why there are no exports although they were asked for.
    """

    params: int
    macs: int
    bytes: int
    validation_accuracy: float
    test_accuracy: float
    sameness: Sameness | None = None
    program: Path | None = None
    onnx: Path | None = None
    widths: dict[str, int] = field(default_factory=dict)
    detection: dict[str, Detection] = field(default_factory=dict)
    problem: str = ""


def measure_final(
    item: Final, foundation: Foundation, validation: Images, test: Images, factories: tuple[str, ...]
) -> FinalResult:
    """Export, prove and measure one trained candidate, on the CPU.

    Args:
        factories: user factories that the weights file may name (see :func:`workers.checkpoint.load_candidate`).

    Raises:
        CheckpointError: the weights cannot be loaded.
    """
    network, about = load_candidate(item.weights, factories)
    result = _measured(item, network, about, foundation, validation, test, factories)
    if item.mixture:
        mean, std = np.array(about.mean), np.array(about.std)
        known = to_tensors(test, mean, std, memory_format=torch.contiguous_format)
        result = replace(result, detection=measure_detection(network.eval(), known))
    return result


def _measured(
    item: Final,
    network: nn.Module,
    about: CandidateFile,
    foundation: Foundation,
    validation: Images,
    test: Images,
    factories: tuple[str, ...],
) -> FinalResult:
    deployed = Deployed(network, about.mean, about.std).eval()
    size = sum(4 * t.numel() for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked"))
    if not item.full:
        return _unexported(deployed, about, foundation, size, validation, test)
    program = item.weights.with_suffix(".pt2")
    onnx = item.weights.with_suffix(".onnx") if item.onnx else None
    samples = pixels(validation)[:SAMPLES]
    try:
        export_program(deployed, samples[:2], program)
        if onnx is not None:
            export_onnx(deployed, samples[:2], onnx)
    except ExportError as error:
        # Hours of search lie behind: its other results are worth having.
        return replace(_unexported(deployed, about, foundation, size, validation, test), problem=str(error))
    sameness = prove_sameness(
        network, _masked_twin(network, about.genome, foundation), item.weights, onnx, program, samples, factories
    )
    params, macs = count_program(program)
    return FinalResult(
        params=params,
        macs=macs,
        bytes=size,
        validation_accuracy=_program_accuracy(program, validation),
        test_accuracy=_program_accuracy(program, test),
        sameness=sameness,
        program=program,
        onnx=onnx,
        widths=dict(about.widths),
    )


def _unexported(
    deployed: Deployed, about: CandidateFile, foundation: Foundation, size: int, validation: Images, test: Images
) -> FinalResult:
    """Measurements of the network itself."""
    layout = foundation.trunks[about.growth or min(foundation.trunks)].layout
    cost = layout.cost(np.array([about.widths.get(group.name, group.size) for group in layout.groups]))
    params = sum(p.numel() for p in deployed.network.parameters())
    scores = [accuracy_of(deployed, images) for images in (validation, test)]
    return FinalResult(params, cost.macs, size, scores[0], scores[1], widths=dict(about.widths))


def pixels(images: Images) -> torch.Tensor:
    """What a deployed network takes: float32 ``[N, C, H, W]`` in [0, 1]."""
    return torch.tensor(images.images, dtype=torch.float32) / 255


@torch.no_grad()
def accuracy_of(deployed: nn.Module, images: Images, batch_size: int = 256) -> float:
    """Top-1 accuracy of a deployed network, in [0, 1]."""
    hits = 0
    for start in range(0, len(images), batch_size):
        part = images.subset(np.arange(start, min(start + batch_size, len(images))))
        hits += int((deployed(pixels(part)).argmax(1).numpy() == part.labels).sum())
    return hits / len(images)


def _program_accuracy(program: Path, images: Images, batch_size: int = 256) -> float:
    hits = 0
    for start in range(0, len(images), batch_size):
        part = images.subset(np.arange(start, min(start + batch_size, len(images))))
        hits += int((run_program(program, pixels(part).numpy()).argmax(1) == part.labels).sum())
    return hits / len(images)


def _masked_twin(network: nn.Module, genome_text: str, foundation: Foundation) -> nn.Module:
    """The full-size network with the candidate's weights scattered into it and zeros elsewhere."""
    if not genome_text:
        return network
    genome = Genome.from_text(genome_text)
    trunk = foundation.trunk(genome)
    return expand(network, trunk.network, trunk.layout, foundation.kept(genome))
