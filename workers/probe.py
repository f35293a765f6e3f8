"""The cheap evaluation of a compressed network: recalibrate, measure, no training.

candidate = foundation.build(genome)
metrics, embedding = probe(candidate.network, splits, ProbeSettings())
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from workers.batches import TensorSplits
from workers.complexity.candidate import feature_csg
from workers.measure.accuracy import FeatureTap, measure_accuracy
from workers.measure.embedding import embedding_statistics
from workers.measure.refit import refit_accuracy
from workers.proxies import measure_proxies
from workers.recalibrate import recalibrate


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is made.

    Attributes:
        batch_size: images per forward pass.
        latency: also time the network (see :mod:`workers.measure.latency`).
        proxies: names of :data:`workers.proxies.PROXIES` to measure as well.
    """

    batch_size: int = 256
    latency: bool = False
    proxies: tuple[str, ...] = ()


@torch.inference_mode()
def probe(
    network: nn.Module, data: TensorSplits, settings: ProbeSettings, classes: int, seed: int = 0
) -> tuple[dict[str, float], tuple[float, ...]]:
    """Recalibrate ``network`` in place and measure it on the validation split.

    Args:
        seed: of the proxies' randomness: one for all candidates of a run, for they are compared.

    Returns:
        Metrics (``accuracy``, ``loss``, ``proxy_NAME``; ``refit_accuracy`` and ``feature_csg`` where a linear
        classifier ends the network; see :mod:`search.schema`), and the embedding statistics of
        :mod:`workers.measure.embedding`.
    """
    with FeatureTap(network) as calibration:
        recalibrate(network, data.calibration, settings.batch_size)
    with FeatureTap(network) as validation:
        measured = measure_accuracy(network, data.validation, settings.batch_size)
    metrics: dict[str, float] = {"accuracy": measured.accuracy, "loss": measured.loss, "epochs": 0}
    embedding: tuple[float, ...] = ()
    features, held_out = calibration.features, validation.features
    if features is not None and held_out is not None:
        labels = data.calibration.labels[: len(features)]
        metrics["refit_accuracy"] = refit_accuracy(features, labels, held_out, data.validation.labels, classes)
        overlap = feature_csg(features, labels)
        if overlap is not None:
            metrics["feature_csg"] = overlap
        embedding = embedding_statistics(features, labels, classes)
    metrics.update(measure_proxies(settings.proxies, network, data.calibration, seed))
    return metrics, embedding
