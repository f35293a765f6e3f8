"""A proven candidate in MLflow's model registry: a version with an alias that loads where it will run.

The model is logged as a ``torch.export`` program (no pickled classes, no Niwaki needed to run it). It cannot be
trained further, so the candidate's safetensors file and its ONNX form travel inside the model version.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search.tracking import open_client
from search.tracking_store import Store, quiet_mlflow, readable_errors
from workers.measure.sameness import Sameness, compare

_SAFE = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
}


class RegistryRefused(ValueError):
    """The model is not what its files or its base network say, so it was not registered (or got no alias)."""


@dataclass(frozen=True)
class RegisteredModel:
    """A registered version; ``uri`` is ``models:/NAME@ALIAS``, which every MLflow client loads."""

    name: str
    version: str
    uri: str


def register(
    deployed: nn.Module,
    example: Tensor,
    name: str,
    alias: str,
    tags: Mapping[str, str],
    files: Sequence[Path],
    store: Store,
    run_id: str,
    sameness: Sameness,
    tolerance: float,
) -> RegisteredModel:
    """Register ``deployed`` as a new version of ``name`` and point ``alias`` to it, once it has proven itself there.

    The alias moves last: whoever loads it never gets a version that was not loaded back and compared.

    Args:
        deployed: see :class:`workers.deployed.Deployed`; on the CPU, in eval mode.
        example: real images, float32 ``[N, C, H, W]`` in [0, 1]; N ≥ 2 leaves the batch size free.
        tags: of the version: candidate, run, accuracy, costs.
        files: the candidate's safetensors file, its ONNX form; they travel in the version as ``extra_files/``.
        store: see :func:`search.tracking.find_store`.
        run_id: the MLflow run that the model came from (:meth:`search.tracking.Tracker.training`).
        sameness: of the candidate and its files.
        tolerance: largest relative difference of logits that passes for the same.

    Raises:
        RegistryRefused: sameness does not hold or was not measured for a given form, or the model that came back
            from the registry differs.
        TrackingError: MLflow cannot be reached, or torch cannot export the network.
        ValueError: fewer than two example images, or a file that does not exist.
    """
    _check(example, files, sameness, tolerance)
    with _mlflow(store) as (mlflow, client):
        version = _log(mlflow, client, deployed, example, name, tags, files, run_id)
        loaded = mlflow.pytorch.load_model(f"models:/{name}/{version}")
        back = compare("registered", _logits(deployed, example), _logits(loaded, example))
        if not back.difference <= tolerance:
            client.set_model_version_tag(name, version, "niwaki.refused", str(back))
            raise RegistryRefused(
                f"{name} version {version}: the model loaded back from the registry differs ({back}); "
                f"tolerance {tolerance:g}; the alias {alias!r} was not moved"
            )
        client.set_registered_model_alias(name, alias, version)
        found = client.get_model_version_by_alias(name, alias).version
        if str(found) != version:
            raise RegistryRefused(f"{name}@{alias} is version {found}, not {version}: somebody else moved it just now")
    return RegisteredModel(name, version, f"models:/{name}@{alias}")


def load_registered(name: str, alias: str, store: Store) -> nn.Module:
    """The model ``models:/NAME@ALIAS``: float32 ``[N, C, H, W]`` in [0, 1] → logits; its mode cannot be changed.

    Records that could run code are refused (``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``).

    Raises:
        TrackingError: there is no such model or alias, or its archive holds more than plain tensors.
    """
    with _mlflow(store) as (mlflow, _):
        model: nn.Module = mlflow.pytorch.load_model(f"models:/{name}@{alias}")
    return model


def _check(example: Tensor, files: Sequence[Path], sameness: Sameness, tolerance: float) -> None:
    if example.dim() != 4 or len(example) < 2:
        raise ValueError(f"example must be images [N, C, H, W] with N ≥ 2, got shape {list(example.shape)}")
    for file in files:
        if not Path(file).is_file():
            raise ValueError(f"{file}: no such file to register; export the candidate first")
    if not sameness.passes(tolerance):
        raise RegistryRefused(
            f"the candidate is not the same in all its forms: largest difference {sameness.worst:.3g}, "
            f"tolerance {tolerance:g}\n{sameness}"
        )
    for suffix, form in ((".safetensors", "reloaded"), (".onnx", "onnx"), (".pt2", "program")):
        if any(Path(file).suffix == suffix for file in files) and not sameness.compared(form):
            raise RegistryRefused(f"a {suffix} file is to be registered, but sameness was not measured for it ({form})")


def _log(
    mlflow: Any,
    client: Any,
    deployed: nn.Module,
    example: Tensor,
    name: str,
    tags: Mapping[str, str],
    files: Sequence[Path],
    run_id: str,
) -> str:
    """Log the model to its run and register it; returns the new version."""
    images = example.detach().cpu().numpy()
    before = client.get_run(run_id).info
    # log_model wants an active run, and re-opens and closes it: what the run's end said is put back after.
    # What it prints on the way ("Successfully registered …") is not for our users, and has no switch.
    with mlflow.start_run(run_id=run_id, nested=True), redirect_stderr(io.StringIO()):
        info = mlflow.pytorch.log_model(
            deployed,
            name="model",
            signature=_signature(images.shape, _logits(deployed, example).shape),
            input_example=images[:2],
            serialization_format="pt2",
            # Named here, because MLflow would infer them by loading the model in another process.
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"],
            extra_files=[str(file) for file in files] or None,
            registered_model_name=name,
            tags=dict(tags),
        )
    if before.end_time is not None:
        client.set_terminated(run_id, before.status, before.end_time)
    version = str(info.registered_model_version)
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    return version


def _signature(images: tuple[int, ...], logits: tuple[int, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # Unnamed: a named tensor would make MLflow's servers pass a dict, which its PyTorch flavour refuses.
    image, logit = (TensorSpec(np.dtype(np.float32), (-1, *shape[1:])) for shape in (images, logits))
    return ModelSignature(inputs=Schema([image]), outputs=Schema([logit]))


def _logits(model: nn.Module, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits.numpy()


@contextmanager
def _mlflow(store: Store) -> Iterator[tuple[Any, Any]]:
    """MLflow's module and a client, quiet, safe and pointed at ``store``; its global state is put back after."""
    with readable_errors(store, RegistryRefused):
        client = open_client(store)
        kept = {name: os.environ.get(name) for name in (*_SAFE, "MLFLOW_TRACKING_URI")}
        with quiet_mlflow():
            import mlflow
            import mlflow.pytorch

            uri = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
            os.environ.update(_SAFE)
            mlflow.set_tracking_uri(store.uri)
            try:
                yield mlflow, client
            finally:
                mlflow.set_tracking_uri(uri)  # type: ignore[arg-type]
                for name, value in kept.items():  # set_tracking_uri writes the environment too
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value
