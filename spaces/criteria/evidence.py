"""What criteria look at: the network's weights, and what one streamed pass over the scoring images measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from spaces.criteria import masks, moments
from spaces.criteria.channels import blocks_of, class_separation, conditional_variance, on_channels
from spaces.criteria.moments import Sums, covariance
from spaces.criteria.observe import SLOPES, Observation, observe
from spaces.groups import Group, Member
from spaces.layout import Layout
from spaces.memory_format import fastest_format

BASIC = frozenset({"activation_mean", "taylor"})
"""What a user's own criterion gets without asking."""

KINDS = BASIC | moments.KINDS | frozenset(SLOPES) | {"weight_fisher", "edge_fisher", "utility", "slopes", "class_masks"}
"""The evidence that needs images."""

ByName = Mapping[str, Tensor]


@dataclass(frozen=True)
class Evidence:
    """What is known of a network's channels. Tensors are float64 on the CPU; what was not asked for is empty.

    A *gate* (at 1) multiplies a channel at the inputs of all its consumers; ``loss_n`` is the cross entropy of image
    n. Statistics are of the channel as its consumers see it (behind norm, activation and pooling), averaged over
    consumers. By group name and ``[group.size]``, unless said otherwise:

    Attributes:
        network: the scored network, to read weights from (``network.get_submodule(member.layer)``); never changed.
        activation_mean: mean ``|a|`` of the channel over images and positions.
        taylor: mean over images of ``|d loss_n / d gate_c|``: to first order, how much removing the channel changes
            the loss of an image.
        active_fraction: share of the channel's values that are not zero.
        activation_variance: variance of the channel's values over images and positions.
        map_rank: mean over images of the rank of the channel's map (of a vector's entries: whether it is not zero).
        conditional_variance: by layer, ``[inputs]``: what of each input channel's variance the layer's other input
            channels at the same position cannot foretell linearly.
        class_separation: by how much ``tr(Σ_w⁻¹ Σ_b)`` of the consumers' averaged maps falls without the channel,
            relative to what it is with it.
        pooled: ``[images, group.size]``: the channel's mean over positions.
        slopes: ``[images, group.size]``: ``d loss_n / d gate_c``, signed.
        gate_fisher: mean over images of ``(d loss_n / d gate_c)²``.
        self_supervised: as ``taylor``, for the loss of telling each image from all others by the last features.
        reconstruction: as ``taylor``, for the loss of a picture that is decoded linearly from the last features.
        utility: the last features' discriminant utility as it arrives at the channel (see ``trace.py``).
        weight_fisher: by layer, shaped as its weight: mean over images of ``(∂loss_n/∂w)²``.
        edge_fisher: by layer, ``[outputs, input channels]``: mean over images of the square of the loss's derivative
            by a gate between the two.
        class_masks: ``[classes, group.size]``: gates learned for each class, ones where nothing was learned.
        groups: all groups of the network.
        blocks: by layer, how many inputs side by side are the pixels of one channel.
    """

    network: nn.Module
    activation_mean: ByName
    taylor: ByName
    active_fraction: ByName = field(default_factory=dict)
    activation_variance: ByName = field(default_factory=dict)
    map_rank: ByName = field(default_factory=dict)
    conditional_variance: ByName = field(default_factory=dict)
    class_separation: ByName = field(default_factory=dict)
    pooled: ByName = field(default_factory=dict)
    slopes: ByName = field(default_factory=dict)
    gate_fisher: ByName = field(default_factory=dict)
    self_supervised: ByName = field(default_factory=dict)
    reconstruction: ByName = field(default_factory=dict)
    utility: ByName = field(default_factory=dict)
    weight_fisher: ByName = field(default_factory=dict)
    edge_fisher: ByName = field(default_factory=dict)
    class_masks: ByName = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    blocks: Mapping[str, int] = field(default_factory=dict)


def collect_evidence(
    network: nn.Module,
    layout: Layout,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    needs: frozenset[str],
    generator: torch.Generator | None = None,
) -> Evidence:
    """Measure what is in ``needs``, in one pass forward (and backward, if gradients are needed) in eval mode.

    Some kinds need more: losses and discriminants of the last features are taken from a forward pass of their own
    beforehand, and ``class_masks`` are trained. Memory is bounded by ``batch_size``, not by the number of images,
    but for the last features, ``pooled`` and ``slopes``: one number per image and channel. The network is left as it
    was: weights, buffers, gradients, modes and hooks.

    Args:
        network: the base network that ``layout`` was made from; returns logits ``[B, classes]``.
        layout: its groups.
        images: float ``[N, C, H, W]``, normalised, of the network's dtype, on any device; copied once if the network is
            faster in another memory format.
        labels: int64 ``[N]``.
        batch_size: images per step.
        needs: names from :data:`KINDS`; if empty, no pass is made.
        generator: of the training of ``class_masks``; from a fixed seed if none is given.

    Raises:
        ValueError: an unknown name in ``needs``, no images, unequal numbers of images and labels, or a group whose
            consumers the network's forward pass does not call.
    """
    if needs - KINDS:
        raise ValueError(f"evidence {sorted(needs - KINDS)} is unknown; there is {sorted(KINDS)}")
    blocks = blocks_of(layout)
    if not needs or not layout.groups:
        return Evidence(network, {}, {}, groups=layout.groups, blocks=blocks)
    if len(images) == 0 or len(images) != len(labels) or batch_size < 1:
        raise ValueError(
            f"scoring needs as many labels as images and a batch of at least one, "
            f"got {len(images)} images, {len(labels)} labels, batch size {batch_size}"
        )
    if images.is_contiguous():
        images = images.contiguous(memory_format=fastest_format(network, images.shape[1:]))
    found: dict[str, ByName] = {"activation_mean": {}, "taylor": {}}
    shared = needs - {"class_masks"}
    if shared:
        seen = observe(network, layout, images, labels, batch_size, shared, blocks)
        _check_seen(layout, seen.sums)
        found |= seen.by_kind | _statistics(layout, seen, shared, blocks)
    if "class_masks" in needs:
        draws = generator or torch.Generator().manual_seed(0)
        found["class_masks"] = masks.train(network, layout, images, labels, batch_size, draws)
    return Evidence(network, groups=layout.groups, blocks=blocks, **found)  # type: ignore[arg-type]


def _statistics(
    layout: Layout, seen: Observation, needs: frozenset[str], blocks: Mapping[str, int]
) -> dict[str, ByName]:
    """Per kind that was asked for, what the sums over all images come to."""
    separation = _once(lambda sums: class_separation(sums["pooled_products"], sums["class_sums"]))
    variance = _once(lambda sums: conditional_variance(covariance(sums["products"])[0]))
    measures: dict[str, Callable[[Sums, Group, Member], Tensor]] = {
        "activation_mean": lambda s, g, m: on_channels(s["absolute"] / s["count"], g, m),
        "active_fraction": lambda s, g, m: on_channels(s["active"] / s["count"], g, m),
        "activation_variance": _variance,
        "map_rank": lambda s, g, m: on_channels(s["rank"] / s["images"], g, m),
        "class_separation": lambda s, g, m: on_channels(separation(s).repeat_interleave(blocks[m.layer]), g, m),
        "pooled": lambda s, g, m: on_channels(s["pooled"].repeat_interleave(blocks[m.layer], dim=1).T, g, m).T,
    }
    found: dict[str, ByName] = {
        kind: {
            g.name: torch.stack(
                [measure(seen.sums[m.layer], g, m) for m in g.consumers() if m.layer in seen.sums]
            ).mean(dim=0)
            for g in layout.groups
        }
        for kind, measure in measures.items()
        if kind in needs
    }
    if "conditional_variance" in needs:
        found["conditional_variance"] = {name: variance(sums) for name, sums in seen.sums.items()}
    return found


def _once(function: Callable[[Sums], Tensor]) -> Callable[[Sums], Tensor]:
    """``function``, computed once for layers that share their sums: it inverts a matrix."""
    known: dict[int, Tensor] = {}

    def lookup(sums: Sums) -> Tensor:
        if id(sums) not in known:
            known[id(sums)] = function(sums)
        return known[id(sums)]

    return lookup


def _variance(sums: Sums, group: Group, member: Member) -> Tensor:
    """Over images and positions, those that a flatten made inputs of included."""
    within = on_channels(sums["squares"] / sums["count"], group, member)
    mean = on_channels(sums["mean"], group, member)
    away = sums["mean"][torch.from_numpy(member.positions)] - mean[torch.from_numpy(member.channels)]
    placed = torch.zeros_like(sums["mean"])
    placed[torch.from_numpy(member.positions)] = away.square()
    return within + on_channels(placed, group, member)


def _check_seen(layout: Layout, sums: Mapping[str, Sums]) -> None:
    for group in layout.groups:
        readers = [m.layer for m in group.consumers()]
        if not any(name in sums for name in readers):
            raise ValueError(
                f"group {group.name!r}: the forward pass calls none of its readers ({', '.join(readers)}) as modules, "
                f"so their inputs cannot be measured; keep its channels (network.keep) or drop activation criteria"
            )
