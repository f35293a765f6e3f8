"""A candidate on disk: its weights and, in the same file's header, all that is needed to build it again."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from spaces.groups import example_input
from spaces.growth import grow_structure
from spaces.layout import make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.networks.vision import torchvision_names
from spaces.surgery import compact
from workers.deployed import Deployed
from workers.tensors import CheckpointError, fill, load_tensors, load_weights, save_tensors

__all__ = [
    "CandidateFile",
    "CheckpointError",
    "Deployed",
    "load_candidate",
    "load_tensors",
    "load_weights",
    "rebuild",
    "save_candidate",
    "save_tensors",
]

VERSION = "1"
_KIND, _VERSION, _ABOUT = "niwaki", "niwaki_version", "niwaki_candidate"


@dataclass(frozen=True)
class CandidateFile:
    """What a candidate is besides its weights: plain values only.

    Attributes:
        spec: its base network.
        growth: modules added to each stage before pruning; empty where the network cannot grow.
        widths: channels kept per group name; groups not named are whole.
        keep: shell patterns of layers that were kept from pruning (they decide which groups there are).
        genome: canonical text of the genome, or empty.
        class_names: in the order of the logits.
        mean: per channel, on the [0, 1] scale.
        std: per channel, on the [0, 1] scale.
        metadata: anything else worth keeping with the weights.
    """

    spec: NetworkSpec
    growth: tuple[int, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    genome: str = ""
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def save_candidate(path: Path, network: nn.Module, about: CandidateFile) -> None:
    """Write the compact ``network`` and ``about`` to one safetensors file, whole or not at all.

    Raises:
        CheckpointError: the network's arguments are not plain values (numbers, text, lists), so that nobody could
            build it again.
    """
    try:
        text = json.dumps(asdict(about), sort_keys=True)
    except TypeError as error:
        raise CheckpointError(
            f"{path}: the description of the candidate is not plain JSON ({error})",
            "use numbers, text and lists in network.arguments",
        ) from error
    save_tensors(path, network.state_dict(), {_KIND: "candidate", _VERSION: VERSION, _ABOUT: text})


def load_candidate(path: Path, factories: Collection[str] = ()) -> tuple[nn.Module, CandidateFile]:
    """The compact network in eval mode on the CPU, from the file alone, and its description.

    Args:
        factories: names of factories (``package.module:function``) that the file may ask for. The caller's own
            configuration says which; the file is not believed, because importing and calling what a file names
            would run anybody's code as surely as a pickle does.

    Raises:
        CheckpointError: the file is missing, cut short, not safetensors, not a candidate of Niwaki's, of another
            version, asks for a factory that is not allowed, or holds tensors of other shapes than it describes.
    """
    path = Path(path)
    tensors, header = load_tensors(path)
    if header.get(_KIND) != "candidate":
        raise CheckpointError(
            f"{path}: not a candidate that Niwaki wrote (its header says nothing of one)",
            "give a file from a run's weights folder; load_tensors reads other safetensors files",
        )
    if header.get(_VERSION) != VERSION:
        raise CheckpointError(
            f"{path}: written in version {header.get(_VERSION)!r} of the format, this Niwaki reads version {VERSION!r}",
            "load it with the Niwaki that wrote it",
        )
    about = _parse(path, header.get(_ABOUT, ""))
    name = about.spec.name
    if ":" in name and name not in factories:
        raise CheckpointError(
            f"{path}: asks to import and call {name!r}, which is not among the allowed factories {sorted(factories)}",
            f"if you trust it, load it with factories=[{name!r}]",
        )
    try:
        network = rebuild(about)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: its network cannot be built again ({error})",
            "use the package versions of the run, and for a factory its unchanged source",
        ) from error
    fill(network, tensors, path)
    return network.eval(), about


def rebuild(about: CandidateFile) -> nn.Module:
    """The compact network that ``about`` describes, with meaningless weights.

    Raises:
        ValueError: the base network cannot be built, or has no group of a name in ``widths``.
    """
    network = build_network(_without_download(about.spec))
    if any(about.growth):
        network = grow_structure(network, about.growth)
    if not about.widths:
        return network
    layout = make_layout(network, example_input(about.spec.shape), about.keep)
    unknown = sorted(set(about.widths) - set(layout.names))
    if unknown:
        raise ValueError(f"the network has no group {unknown[0]!r}")
    # Which channels stay does not matter for shapes, and the weights are overwritten: the first will do.
    return compact(network, layout, {name: np.arange(width) for name, width in about.widths.items()})


def _without_download(spec: NetworkSpec) -> NetworkSpec:
    """torchvision would fetch pretrained weights from the network only for them to be overwritten."""
    if "weights" not in spec.arguments or spec.name not in torchvision_names():
        return spec
    return replace(spec, arguments={k: v for k, v in spec.arguments.items() if k != "weights"})


def _parse(path: Path, text: str) -> CandidateFile:
    try:
        fields: dict[str, Any] = json.loads(text)
        spec = fields["spec"]
        channels, height, width = (int(n) for n in spec["shape"])
        return CandidateFile(
            spec=NetworkSpec(
                str(spec["name"]), (channels, height, width), int(spec["classes"]), dict(spec["arguments"])
            ),
            growth=tuple(int(n) for n in fields["growth"]),
            widths={str(name): int(n) for name, n in fields["widths"].items()},
            keep=tuple(str(pattern) for pattern in fields["keep"]),
            genome=str(fields["genome"]),
            class_names=tuple(str(name) for name in fields["class_names"]),
            mean=tuple(float(x) for x in fields["mean"]),
            std=tuple(float(x) for x in fields["std"]),
            metadata={str(k): str(v) for k, v in fields["metadata"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its description of the candidate is damaged ({error!r})", "copy the file again from the run"
        ) from error
