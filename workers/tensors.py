"""Named tensors on disk, as safetensors: base weights, training checkpoints, and what candidates are made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.atomic import replacing

_LARGEST_HEADER = 100_000_000
"""Bytes; the format's own limit on its JSON header."""


class CheckpointError(ValueError):
    """A weights file that cannot be used. The message is one line: the file, what is wrong, what to do about it."""

    def __init__(self, problem: str, mend: str = "") -> None:
        # One argument reaches `args`, because an exception crosses processes as `CheckpointError(*args)`.
        super().__init__(f"{problem}. Mend: {mend}." if mend else problem)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``tensors`` (any device, any strides) to ``path``: whole or not at all, on disk when it returns.

    Tensors that share memory are written once each. ``metadata`` goes into the file's header.

    Raises:
        CheckpointError: an entry is not a dense tensor.
        OSError: the folder cannot be written.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.is_sparse:
            raise CheckpointError(
                f"{path}: entry {name!r} is {type(tensor).__name__}, which safetensors cannot hold",
                "store dense tensors only",
            )
    # Copies, because the format refuses views, tied weights and tensors that share a storage.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with replacing(Path(path)) as temporary:
        save_file(plain, temporary, metadata=dict(metadata or {}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, on the CPU, and its header's metadata. Any writer's file will do.

    Raises:
        CheckpointError: the file is missing, cut short, or not safetensors (a pickle, say, which is never read).
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "check the path, or write the weights again")
    try:
        with safe_open(path, framework="pt") as opened:
            # Cloned: what safetensors returns is mapped from the file, and would change or fault with it.
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
            return tensors, dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(*_explain(path, error)) from error


def check_tensors(path: Path) -> None:
    """Refuse what :func:`load_tensors` would refuse, without reading the tensors.

    Raises:
        CheckpointError: the file is missing, cut short, or not safetensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", "restore it from a copy")
    try:
        with safe_open(path, framework="pt"):
            return
    except (SafetensorError, OSError) as error:
        raise CheckpointError(*_explain(path, error)) from error


def load_weights(network: nn.Module, path: Path) -> dict[str, str]:
    """Fill ``network`` (in place) from the file, every tensor of both sides accounted for; returns the metadata.

    Raises:
        CheckpointError: as :func:`load_tensors`, or the names or shapes are not those of ``network``.
    """
    tensors, metadata = load_tensors(path)
    fill(network, tensors, path)
    return metadata


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy ``tensors`` into ``network`` strictly; ``path`` is for the message.

    Raises:
        CheckpointError: names or shapes differ; the first three differences are named.
    """
    wanted = network.state_dict()
    problems = [f"{name!r} is missing" for name in wanted if name not in tensors]
    problems += [f"{name!r} is not of this network" for name in tensors if name not in wanted]
    problems += [
        f"{name!r} is {list(tensors[name].shape)} in the file and {list(wanted[name].shape)} in the network"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{path}: does not fit the network: {'; '.join(problems[:3])}{more}",
            "use the weights of this very architecture, or the configuration that the file was written with",
        )
    network.load_state_dict(dict(tensors), strict=True)


def _explain(path: Path, error: Exception) -> tuple[str, str]:
    """Problem and mend for a file that safetensors refuses."""
    if isinstance(error, OSError):
        return f"{path}: cannot be read ({error.strerror or error})", "check its permissions and the disk"
    with path.open("rb") as file:
        head = file.read(9)
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return (
            f"{path}: a pickled file (torch.save), not safetensors; pickles can run code and are never read here",
            "where you trust it, run safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW_FILE)",
        )
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or (head[8:] == b"{" and length <= _LARGEST_HEADER):
        return f"{path}: cut short or damaged ({error})", "copy it again, or delete it and let it be written anew"
    return f"{path}: not a safetensors file ({error})", "give the .safetensors file that Niwaki or safetensors wrote"
