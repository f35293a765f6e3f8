"""The deployed network in two portable forms, ONNX and ``torch.export``; both run and counted from the file itself."""

from __future__ import annotations

import copy
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from workers.atomic import replacing

OPSET = 18
"""ONNX operator set: the one that torch's exporter writes natively, read by ONNX Runtime since 1.14 (2023)."""

_RECORDS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
)
_COUNTED = ("aten.convolution", "aten._convolution", "aten.addmm", "aten.mm")


class ExportError(ValueError):
    """A network that cannot be exported, or an exported file that cannot be used; the message says what to do."""

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(f"{problem}. Mend: {mend}." if mend else problem)


def export_onnx(deployed: nn.Module, example: Tensor, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write one ONNX file, weights inside, opset :data:`OPSET`: ``images`` ``[batch, C, H, W]`` → ``logits``.

    Args:
        deployed: see :class:`workers.deployed.Deployed`; left as it is, on its device.
        example: images ``[N, C, H, W]``; only their shape matters, and the batch size stays free.
        metadata: written as the model's metadata properties.

    Raises:
        ExportError: torch cannot trace or translate the network.
    """
    network, images = _portable(deployed, example)
    with replacing(Path(path)) as temporary, _quietly():
        try:
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=({0: Dim("batch", min=1)},),
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                verbose=False,
            )
            assert program is not None  # only the legacy exporter returns nothing
            program.model.metadata_props.update(metadata or {})
            program.save(temporary, external_data=False)
        except Exception as error:  # the exporter raises a dozen unrelated classes
            raise _not_exportable("ONNX", error) from error


def export_program(deployed: nn.Module, example: Tensor, path: Path) -> None:
    """Write a ``torch.export`` program (``.pt2``) with a free batch size; arguments as :func:`export_onnx`.

    Raises:
        ExportError: torch cannot trace the network, or ``path`` does not end in ``.pt2``.
    """
    if Path(path).suffix != ".pt2":
        raise ExportError(f"{path}: torch.export programs end in .pt2", "rename it")
    network, images = _portable(deployed, example)
    with replacing(Path(path)) as temporary, _quietly():
        try:
            program = torch.export.export(network, (images,), dynamic_shapes=({0: Dim("batch", min=1)},))
        except Exception as error:
            raise _not_exportable("torch.export", error) from error
        # Example inputs are the one part of the archive that torch pickles: without them the file holds none.
        program.example_inputs = None
        torch.export.save(program, temporary)


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    """Logits ``[N, classes]`` that ONNX Runtime computes on the CPU for float32 images ``[N, C, H, W]`` in [0, 1].

    As many threads as torch uses, so that a worker keeps to its share of the machine.

    Raises:
        ExportError: missing, or not a model that ONNX Runtime can load.
    """
    import onnxruntime

    _must_exist(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class that is public
        raise ExportError(f"{path}: ONNX Runtime cannot load it ({error})", "export it again") from error
    (logits,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images, dtype=np.float32)})
    return np.asarray(logits)


def run_program(path: Path, images: np.ndarray) -> np.ndarray:
    """Logits ``[N, classes]`` of the exported program on the CPU; see :func:`run_onnx` and :func:`load_program`."""
    module = load_program(path).module()
    with torch.no_grad():
        logits: Tensor = module(torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)))
    return logits.numpy()


def count_program(path: Path) -> tuple[int, int]:
    """Parameters, and multiply-accumulates per image, of the exported program: counted while it runs on one image.

    Convolutions and matrix products of linear layers count, as in :class:`spaces.layout.Layout`; but by torch's own
    counter and on the operators that are really executed, so the two numbers check each other.

    Raises:
        ExportError: see :func:`load_program`.
    """
    program = load_program(path)
    params = sum(p.numel() for p in program.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        program.module()(torch.zeros(1, *_image_shape(program)))
    counts: Mapping[Any, int] = counter.get_flop_counts().get("Global", {})
    flops = sum(count for operator, count in counts.items() if str(operator) in _COUNTED)
    return params, flops // 2  # torch counts the multiplication and the addition apart


def load_program(path: Path) -> ExportedProgram:
    """Read a program that :func:`export_program` wrote.

    ``torch.export.load`` unpickles some records, without restriction where a first attempt fails; an archive that
    has any such record is refused before torch sees it.

    Raises:
        ExportError: missing, damaged, or an archive with more in it than a graph and plain tensors.
    """
    _must_exist(path)
    try:
        foreign = _foreign_record(path)
    except (zipfile.BadZipFile, ValueError, KeyError, AttributeError) as error:
        raise ExportError(f"{path}: not a whole torch.export archive ({error})", "export it again") from error
    if foreign:
        raise ExportError(
            f"{path}: its record {foreign!r} may be a pickle, which can run code and is never read here",
            "export the network again with Niwaki, from its safetensors file",
        )
    with _quietly():
        return torch.export.load(path)


def _foreign_record(path: Path) -> str:
    """The first record that torch would unpickle or that we never write, or an empty text."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            name = record.filename.partition("/")[2]
            if not _RECORDS.fullmatch(name) or (name.startswith("data/sample_inputs/") and record.file_size):
                return name
            if name.endswith("_config.json"):
                for entry in json.loads(archive.read(record))["config"].values():
                    if entry["use_pickle"] is not False or not entry["path_name"].startswith(("weight_", "tensor_")):
                        return str(entry["path_name"])
    return ""


def _image_shape(program: ExportedProgram) -> tuple[int, ...]:
    name = program.graph_signature.user_inputs[0]
    (node,) = (n for n in program.graph.nodes if n.op == "placeholder" and n.name == name)
    return tuple(int(n) for n in node.meta["val"].shape[1:])


def _portable(deployed: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy on the CPU in eval mode, and an example of two images: torch would freeze a batch size of one."""
    return copy.deepcopy(deployed).cpu().eval(), torch.zeros(2, *example.shape[1:])


def _not_exportable(form: str, error: Exception) -> ExportError:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ExportError(
        f"the network cannot be exported by {form} ({type(error).__name__}: {first.strip()})",
        "keep its forward pass free of branches on values of tensors, of operations outside torch, and of len(x), "
        "which fixes the batch size (write x.size(0))",
    )


def _must_exist(path: Path) -> None:
    if not Path(path).is_file():
        raise ExportError(f"{path}: no such file", "export the candidate first")


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporters warn about their own internals: nothing that a user could act on."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
