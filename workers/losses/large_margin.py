"""Large-margin Gaussian mixture: features of a class are normal around its mean, and classified by distance.

Wan, Zhong, Li and Chen, "Rethinking Feature Distribution for Loss Functions in Image Classification" (CVPR 2018, arXiv
1803.02988), with the identity for every class's covariance. For features x ``[B, D]`` and means μ ``[K, D]``:

    d_k = ½ ‖x − μ_k‖²
    loss = cross-entropy of −d_k (1 + α · [k = y]) + λ · mean d_y

α is the margin, which holds in training only and grows to its full size over the first fifth of it; λ weighs the
likelihood. Because −d_k = μ_k · x − ½ ‖μ_k‖² − ½ ‖x‖² and the last part is the same for all classes, the classifier is
linear: weight μ, bias −½ ‖μ_k‖². So the means are the weight of the network's own last layer, and an architecture is
the same as with cross-entropy. Its bias is not trained; it is set when the training ends.

Weight decay does not act on the means (it would draw all classes to one point). Whatever the last layer was before, a
training starts with the class means of the features as they are.

Limits: d grows with D, so α and λ are worth more in wider networks. Features that end in a ReLU are not normal, and
their means have no negative part. One λ for all of a network's life: pruning changes D.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from workers.batches import Tensors
from workers.losses.cross_entropy import cross_entropy
from workers.losses.ramp import ramp
from workers.losses.step import Step
from workers.measure.accuracy import FeatureTap, predict
from workers.recalibrate import recalibrate

LEAST_IMAGES, IMAGES_PER_CLASS = 2048, 64
"""How many images the means start from: the larger of the first and of the second times K."""


class LargeMargin(nn.Module):
    """The loss of the labels by a Gaussian mixture whose means are the weight of ``classifier``.

    Args:
        classifier: the network's last layer, with a bias; trained as part of the network.
        margin: α ≥ 0.
        likelihood: λ ≥ 0.
        smoothing: of the labels, as in :func:`cross_entropy`.
    """

    def __init__(self, classifier: nn.Linear, margin: float, likelihood: float, smoothing: float = 0.0) -> None:
        super().__init__()
        self._classifier = (classifier,)  # in a tuple: its parameters are the network's, not this module's
        self._margin, self._likelihood, self._smoothing = margin, likelihood, smoothing

    @property
    def means(self) -> Tensor:
        """μ, float ``[K, D]``: the layer's parameter itself."""
        return self._classifier[0].weight

    def read(self, step: Step) -> Step:
        """The step with the logits −d_k + ½ ‖x‖² instead of those with the bias that the layer happens to hold."""
        assert step.features is not None
        if step.logits.shape[1] != len(self.means):
            raise ValueError(
                f"loss: l_gm: the network's last linear layer has {len(self.means)} outputs and the network "
                f"{step.logits.shape[1]}: it is not the classifier; set loss: cross_entropy"
            )
        means = self.means.to(step.features.dtype)
        return replace(step, logits=step.features @ means.T - _half_square(means))

    def forward(self, step: Step) -> Tensor:
        """The loss of a step that :meth:`read` returned: a scalar."""
        assert step.features is not None
        margin = self._margin * ramp(step.progress)
        means = self.means.to(step.features.dtype)
        return large_margin(step.features, means, step.labels, margin, self._likelihood, self._smoothing, step.logits)

    @torch.no_grad()
    def start(self, network: nn.Module, data: Tensors) -> None:
        """Set the means to those of the features of ``network``, whose last layer this is; nothing else changes.

        A class without images gets the mean of all.
        """
        count = max(LEAST_IMAGES, IMAGES_PER_CLASS * len(self.means))
        every = max(1, -(-len(data) // count))
        sample = replace(data, images=data.images[::every], labels=data.labels[::every])
        trial = copy.deepcopy(network)
        recalibrate(trial, sample, batch_size=256)  # running statistics of an untrained network are not its own
        with FeatureTap(trial) as tap:
            predict(trial, sample)
        assert tap.features is not None
        features = tap.features.double()
        member = nn.functional.one_hot(sample.labels, len(self.means)).double()
        counts = member.sum(0)[:, None]
        means = torch.where(counts > 0, member.T @ features / counts.clamp_min(1), features.mean(0))
        self.means.copy_(means)

    @torch.no_grad()
    def finish(self) -> None:
        """Set the bias, so that the network's own logits are those of the mixture."""
        bias = self._classifier[0].bias
        bias.copy_(-_half_square(self.means.double()))


def large_margin(
    features: Tensor,
    means: Tensor,
    labels: Tensor,
    margin: float,
    likelihood: float,
    smoothing: float = 0.0,
    logits: Tensor | None = None,
) -> Tensor:
    """The formula above: a scalar.

    Args:
        features: ``[B, D]``.
        means: ``[K, D]``.
        labels: int64 ``[B]``.
        logits: −d_k plus anything that is the same for all classes, ``[B, K]``; computed where left out.
    """
    if logits is None:
        logits = features @ means.T - _half_square(means)
    own = _half_square(features - means[labels])
    # Cross-entropy does not see what all classes share, so the true class alone moves, by α · d_y.
    penalty = torch.zeros_like(logits).scatter(1, labels[:, None], margin * own[:, None])
    return cross_entropy(logits - penalty, labels, smoothing) + likelihood * own.mean()


def _half_square(rows: Tensor) -> Tensor:
    return 0.5 * rows.square().sum(1)
