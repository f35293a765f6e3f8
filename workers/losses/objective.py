"""The whole loss of a training: of the labels, of the teacher, and whatever terms the settings add.

(1 − α) · labels + α · distillation + Σ weight · term
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workers.losses.distillation import distillation
from workers.losses.step import Step
from workers.training.settings import TrainSettings


class Objective(nn.Module):
    """The loss of one training. Parameters and buffers of its terms are trained, checkpointed and resumed along with
    the network's, and left behind when it ends.
    """

    def __init__(self, settings: TrainSettings) -> None:
        super().__init__()
        self._settings = settings
        self._terms = nn.ModuleList()
        self._weights: list[float] = []

    def forward(self, step: Step) -> Tensor:
        """The loss of a step: a scalar."""
        alpha = 0.0 if step.soft_labels is None else self._settings.distillation
        loss = F.cross_entropy(step.logits, step.labels, label_smoothing=self._settings.label_smoothing)
        if alpha and step.soft_labels is not None:
            soft = distillation(step.logits, step.soft_labels, self._settings.temperature)
            loss = (1 - alpha) * loss + alpha * soft
        for weight, term in zip(self._weights, self._terms, strict=True):
            loss = loss + weight * term(step)
        return loss

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """While the block lasts, the list holds what the classifier of ``network`` read last, if a term asks for it."""
        seen: list[Tensor] = []
        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        if not self._terms or not linear:
            yield seen
            return

        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[:] = [inputs[0].flatten(1)]

        handle = linear[-1].register_forward_pre_hook(note)
        try:
            yield seen
        finally:
            handle.remove()

    def finish(self, network: nn.Module) -> None:
        """Leave in ``network`` what a term learnt and inference needs; called once, when the training ends."""


def make_objective(network: nn.Module, settings: TrainSettings, generator: torch.Generator) -> Objective:
    """The objective that ``settings`` ask for, on the device of ``network``.

    Args:
        network: what is trained; terms with parameters take their sizes from it.
        generator: on the CPU; draws the first values of the terms' parameters.
    """
    return Objective(settings).to(next(network.parameters()).device)
