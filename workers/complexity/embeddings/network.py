"""What a network's classifier reads."""

from __future__ import annotations

from torch import Tensor, nn

from workers.batches import Tensors
from workers.complexity.embeddings.standardise import standardise
from workers.measure.accuracy import FeatureTap, predict


def network_features(network: nn.Module, data: Tensors, batch_size: int = 256) -> Tensor:
    """The inputs of the last linear layer of ``network`` in eval mode, standardised: float32 ``[N, D]``.

    Take CSG of them without volume: most have tens to hundreds of dimensions.

    Raises:
        ValueError: the network has no linear layer.
    """
    with FeatureTap(network) as tap:
        predict(network, data, batch_size)
    if tap.features is None:
        raise ValueError("the network has no linear layer, so there are no features that a classifier reads")
    return standardise(tap.features)
