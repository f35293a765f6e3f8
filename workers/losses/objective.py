"""The whole loss of a training: of the labels, of the teacher, and whatever terms the settings add.

(1 − α) · labels + α · distillation + Σ weight · term
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workers.batches import Tensors
from workers.losses.channel_correlation import ChannelCorrelation
from workers.losses.cross_entropy import cross_entropy
from workers.losses.distillation import distillation
from workers.losses.large_margin import LargeMargin
from workers.losses.push import Push
from workers.losses.step import Step
from workers.measure.accuracy import last_linear
from workers.training.settings import TrainSettings


class Objective(nn.Module):
    """The loss of one training. Parameters and buffers of its terms are trained, checkpointed and resumed along with
    the network's, and left behind when it ends.

    Args:
        settings: weights; a term's is the field of its name.
        mixture: the loss of the labels in place of cross-entropy.
        terms: by the names of their settings.
    """

    def __init__(
        self, settings: TrainSettings, mixture: LargeMargin | None = None, terms: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self._settings = settings
        self._mixture = mixture
        self._terms = nn.ModuleDict(dict(terms or {}))

    def forward(self, step: Step) -> Tensor:
        """The loss of a step: a scalar."""
        # Variances and distances are differences of large numbers: they need single precision throughout.
        with torch.autocast(step.logits.device.type, enabled=False):
            return self._whole(step)

    def _whole(self, step: Step) -> Tensor:
        if self._mixture is not None:
            step = self._mixture.read(step)
            loss: Tensor = self._mixture(step)
        else:
            loss = cross_entropy(step.logits, step.labels, self._settings.label_smoothing)
        alpha = 0.0 if step.soft_labels is None else self._settings.distillation
        if alpha and step.soft_labels is not None:
            soft = distillation(step.logits, step.soft_labels, self._settings.temperature)
            loss = (1 - alpha) * loss + alpha * soft
        for name, term in self._terms.items():
            loss = loss + getattr(self._settings, name) * term(step)
        return loss

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """While the block lasts, the list holds what the classifier of ``network`` read last, if a term asks for it."""
        seen: list[Tensor] = []
        classifier = last_linear(network)
        if classifier is None or (self._mixture is None and not self._terms):
            yield seen
            return

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[:] = [inputs[0].flatten(1)]

        handle = classifier.register_forward_pre_hook(note)
        try:
            yield seen
        finally:
            handle.remove()

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this loss from others besides the settings: plain values, kept with checkpoints."""
        return {}

    @property
    def undecayed(self) -> list[Tensor]:
        """Parameters of the network that weight decay must leave alone."""
        return [] if self._mixture is None else [self._mixture.means]

    def start(self, network: nn.Module, data: Tensors) -> None:
        """Before the first step of a training that is not resumed: bring ``network`` to where the loss can begin."""
        if self._mixture is not None:
            self._mixture.start(network, data)

    def finish(self, network: nn.Module) -> None:
        """Leave in ``network`` what was learnt and inference needs; called once, when the training ends."""
        if self._mixture is not None:
            self._mixture.finish()


def make_objective(network: nn.Module, settings: TrainSettings, generator: torch.Generator) -> Objective:
    """The objective that ``settings`` ask for, on the device of ``network``.

    Args:
        network: what is trained; terms with parameters take their sizes from it.
        generator: on the CPU; draws the first values of the terms' parameters.

    Raises:
        ValueError: a term needs the features of a linear classifier, and ``network`` ends in none.
    """
    asked = [name for name in ("push", "channel_correlation") if getattr(settings, name)]
    mixed = settings.loss == "l_gm"
    if not asked and not mixed:
        return Objective(settings)
    names = ", ".join(asked + ["loss: l_gm"] * mixed)
    classifier = last_linear(network)
    if classifier is None:
        raise ValueError(f"{names}: shapes the features of a linear classifier, and the network has none; turn it off")
    mixture = None
    if mixed:
        if classifier.bias is None:
            raise ValueError(
                "loss: l_gm: the distances to class means need a bias in the network's last layer; give it one, or "
                "set loss: cross_entropy"
            )
        mixture = LargeMargin(classifier, settings.margin, settings.likelihood, settings.label_smoothing)
    terms: dict[str, nn.Module] = {}
    if settings.push:
        terms["push"] = Push(classifier.in_features, classifier.out_features)
    if settings.channel_correlation:
        terms["channel_correlation"] = ChannelCorrelation(classifier.in_features, generator)
    return Objective(settings, mixture, terms).to(next(network.parameters()).device)
