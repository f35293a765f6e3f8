"""The pass over the scoring images that all criteria share: forward once, then a gradient for each question asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spaces.criteria import objectives, trace
from spaces.criteria.channels import sum_on_channels
from spaces.criteria.curvature import Curvature
from spaces.criteria.moments import Sums
from spaces.criteria.objectives import Preview
from spaces.criteria.tap import Batch, Call, Tap, evaluating, slope, tapped
from spaces.criteria.trace import Traced
from spaces.groups import Group
from spaces.layout import Layout

SLOPES = {
    "taylor": "classification",
    "gate_fisher": "classification",
    "slopes": "classification",
    "self_supervised": "instances",
    "reconstruction": "reconstruction",
}
"""Evidence made of gates' slopes, and the loss whose slopes they are."""

_CURVED = frozenset({"weight_fisher", "edge_fisher"})
_PREVIEWED = frozenset({"self_supervised", "reconstruction", "utility"})


@dataclass(frozen=True)
class Observation:
    """What the pass saw: per kind and name the evidence made of gradients, and per layer its inputs' statistics."""

    by_kind: dict[str, Mapping[str, Tensor]]
    sums: dict[str, Sums]


def observe(
    network: nn.Module,
    layout: Layout,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    needs: frozenset[str],
    blocks: Mapping[str, int],
) -> Observation:
    """One pass. For the arguments see :func:`spaces.criteria.evidence.collect_evidence`."""
    with evaluating(network):
        view = objectives.preview(network, images, labels, batch_size) if needs & _PREVIEWED else None
    run = _Pass(network, layout, needs, blocks, int(labels.max()) + 1, view)
    with evaluating(network), tapped(run.taps.values()):
        for rows in torch.split(torch.arange(len(images)), batch_size):
            run.step(images[rows], labels[rows], rows)
    return run.result(len(images))


class _Pass:
    def __init__(
        self,
        network: nn.Module,
        layout: Layout,
        needs: frozenset[str],
        blocks: Mapping[str, int],
        classes: int,
        view: Preview | None,
    ) -> None:
        self._network, self._layout, self._needs, self._view = network, layout, needs, view
        self._device = next(network.parameters()).device
        self._losses = {SLOPES[kind] for kind in needs & SLOPES.keys()}
        self._losses |= {"classification"} if needs & _CURVED else set()
        graded = bool(self._losses) or "utility" in needs
        self._batch = Batch(needs, classes, graded, "utility" in needs)
        readers = {m.layer for g in layout.groups for m in g.consumers()}
        makers = {m.layer for g in layout.groups for m in g.producers()} if "weight_fisher" in needs else set()
        last = {view.layer} if view else set()
        self.taps = {
            name: Tap(name, network.get_submodule(name), self._batch, name in readers, blocks.get(name, 1))
            for name in sorted(readers | makers | last)
        }
        curved = (makers if "weight_fisher" in needs else set()) | (readers if "edge_fisher" in needs else set())
        self._curvature = {
            name: Curvature(self.taps[name].module, blocks.get(name, 1), "edge_fisher" in needs and name in readers)
            for name in sorted(curved)
        }
        self._traced = {name: Traced(self.taps[name].axis) for name in sorted(readers) if "utility" in needs}
        sized = {g.name: g.size for g in layout.groups}
        self._totals = {
            kind: {name: torch.zeros(size, dtype=torch.float64) for name, size in sized.items()}
            for kind in needs & (SLOPES.keys() - {"slopes"})
        }
        self._slopes: dict[str, list[Tensor]] = {name: [] for name in sized if "slopes" in needs}
        if view is not None:
            self._utility = view.discriminants()

    def step(self, images: Tensor, labels: Tensor, rows: Tensor) -> None:
        """Take in one batch."""
        self._batch.begin(labels)
        for tap in self.taps.values():
            tap.calls.clear()
        images = images.to(self._device)
        graded = self._batch.graded
        with torch.set_grad_enabled(graded):
            # Layers below the first gate have gradients too, and their weights may be frozen.
            logits = self._network(images.detach().requires_grad_() if graded and self._curvature else images)
            questions = self._questions(logits, labels.to(self._device), rows.to(self._device))
        for i, (name, question) in enumerate(questions):
            self._ask(name, question, last=i == len(questions) - 1)

    def _questions(self, logits: Tensor, labels: Tensor, rows: Tensor) -> list[tuple[str, Tensor]]:
        """Losses summed over images: in eval mode those do not see each other, so gradients are each image's own."""
        found = []
        if "classification" in self._losses:
            found.append(("classification", F.cross_entropy(logits, labels, reduction="sum")))
        if self._view is None:
            return found
        tap = self.taps[self._view.layer]
        features = objectives.pool(tap.calls[-1].branch, tap.axis)
        if "instances" in self._losses:
            found.append(("instances", self._view.instance_losses(features, rows).sum()))
        if "reconstruction" in self._losses:
            found.append(("reconstruction", self._view.reconstruction_losses(features, rows).sum()))
        traced = rows < trace.IMAGES
        if "utility" in self._needs and bool(traced.any()):
            found.append(("utility", (features[traced].double() * self._utility).sum()))
        return found

    def _ask(self, name: str, question: Tensor, last: bool) -> None:
        calls = [(tap, call) for tap in self.taps.values() for call in tap.calls]
        edges = [call.entry for _, call in calls]
        curved = [(tap, call) for tap, call in calls if tap.name in self._curvature and name == "classification"]
        edges += [call.exits[0] for _, call in curved]
        self._batch.tracing = name == "utility"
        found = torch.autograd.grad(question, edges, retain_graph=not last, allow_unused=True)
        self._batch.tracing = False
        by_tap: dict[str, list[Tensor | None]] = {}
        for (tap, _), gradient in zip(calls, found, strict=False):
            by_tap.setdefault(tap.name, []).append(gradient)
        if name == "utility":
            for layer, traced in self._traced.items():
                trace.add(traced, self.taps[layer].calls, by_tap.get(layer, []))
            return
        self._curve(curved, found[len(calls) :])
        slopes = {layer: slope(self.taps[layer], gradients) for layer, gradients in by_tap.items()}
        self._take(name, {layer: one for layer, one in slopes.items() if one is not None})

    def _curve(self, curved: list[tuple[Tap, Call]], gradients: tuple[Tensor | None, ...]) -> None:
        by_layer: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for (tap, call), gradient in zip(curved, gradients, strict=True):
            if gradient is not None:
                by_layer.setdefault(tap.name, []).append((call.x, gradient))
        for layer, pairs in by_layer.items():
            self._curvature[layer].add(pairs)

    def _take(self, loss: str, slopes: Mapping[str, Tensor]) -> None:
        size = len(self._batch.labels)
        for group in self._layout.groups:
            total = _gate_slope(group, slopes, size)
            for kind, sums in self._totals.items():
                if SLOPES[kind] == loss:
                    sums[group.name] += (total.square() if kind == "gate_fisher" else total.abs()).sum(dim=0)
            if group.name in self._slopes and loss == "classification":
                self._slopes[group.name].append(total)

    def result(self, images: int) -> Observation:
        """What was seen, averaged over ``images``."""
        found: dict[str, Mapping[str, Tensor]] = {
            kind: {name: total / images for name, total in sums.items()} for kind, sums in self._totals.items()
        }
        if self._slopes:
            found["slopes"] = {name: torch.cat(parts) for name, parts in self._slopes.items()}
        if self._traced:
            found["utility"] = trace.utilities(self._layout, self._traced, min(images, trace.IMAGES))
        if "weight_fisher" in self._needs:
            found["weight_fisher"] = {n: c.weights / images for n, c in self._curvature.items()}
        if "edge_fisher" in self._needs:
            found["edge_fisher"] = {n: c.edges / images for n, c in self._curvature.items() if c.edges is not None}
        return Observation(found, {name: tap.sums for name, tap in self.taps.items() if tap.sums is not None})


def _gate_slope(group: Group, slopes: Mapping[str, Tensor], batch: int) -> Tensor:
    """Signed ``d loss_n / d gate_c``, float64 ``[batch, group.size]``: summed over consumers and positions."""
    total = torch.zeros(batch, group.size, dtype=torch.float64)
    for m in group.consumers():
        if m.layer in slopes:
            total += sum_on_channels(slopes[m.layer], group, m, dim=1)
    return total
