"""What must be there before the first candidate: the trained base network, and its growths scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spaces.criteria import rank_tables, resolve, score_groups
from spaces.doctor import Guard, check_groups
from spaces.foundation import Trunk
from spaces.groups import example_input
from spaces.growth import Growth, grow
from spaces.input_moments import measure_inputs
from spaces.layout import Layout, make_layout
from spaces.networks import NetworkSpec, build_network
from spaces.randomness import seed_for, torch_generator
from workers.batches import Tensors, TensorSplits, place
from workers.score_cache import cached_scores, content_key
from workers.tensors import load_tensors, load_weights, save_tensors
from workers.train import TrainSettings, train


def base_network(spec: NetworkSpec, seed: int) -> nn.Module:
    """The untrained base network of a run."""
    return build_network(spec, torch_generator(seed, "base weights"))


def train_base(
    spec: NetworkSpec,
    data: TensorSplits,
    settings: TrainSettings,
    seed: int,
    path: Path,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train the base network and save its weights to ``path``; nothing happens where they are there already."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    network = place(base_network(spec, seed), data.train)
    checkpoint = path.with_suffix(".checkpoint")
    train(network, data.train, settings, seed_for(seed, "base"), checkpoint=checkpoint, after_epoch=after_epoch)
    save_tensors(path, network.state_dict(), {"role": "base"})
    checkpoint.unlink(missing_ok=True)


def adopt_base(weights: Path, path: Path) -> None:
    """The user's own ``weights`` take the place of base training; nothing happens where ``path`` is there already.

    Raises:
        CheckpointError: they cannot be read.
    """
    if not path.exists():
        tensors, _ = load_tensors(weights)
        save_tensors(path, tensors, {"role": "base"})


def load_base(spec: NetworkSpec, seed: int, path: Path) -> nn.Module:
    """The base network with the weights in ``path``, on the CPU, in eval mode.

    Raises:
        CheckpointError: the file is missing or damaged, or holds the weights of another network.
    """
    network = base_network(spec, seed)
    load_weights(network, path)
    return network.eval()


def prepare_trunk(
    base: nn.Module,
    growth: Growth,
    layout: Layout,
    criteria: Sequence[str],
    scoring: Tensors,
    batch_size: int,
    seed: int,
    cache: Path,
    compensated: bool = False,
) -> Trunk:
    """Grow and score: everything that candidates of this growth share.

    Args:
        cache: folder of scores that were measured before, see :mod:`workers.score_cache`.
        base: trained, on the device of ``scoring``.
        layout: of this growth, as the run's first check found it: traced once, the same in every process.
        scoring: the training images that data-driven criteria see.
        compensated: whether candidates shall be (see :mod:`spaces.compensate`).
    """
    images, labels = next(scoring.batches(len(scoring)))
    network = grow(base, growth, images) if any(growth) else base

    def generator_for(criterion: str, group: str) -> torch.Generator:
        return torch_generator(seed, "criterion", criterion, group)

    def score() -> dict[str, np.ndarray]:
        return score_groups(network, layout, resolve(criteria), images, labels, batch_size, generator_for)

    key = content_key(network, layout, criteria, scoring, batch_size, seed)
    scores = cached_scores(cache, key, layout, criteria, score)
    moments = measure_inputs(network, layout, images, batch_size) if compensated else None
    return Trunk(network.cpu(), layout, rank_tables(scores), moments)


def checked_layout(
    network: nn.Module,
    shape: tuple[int, int, int],
    keep: Sequence[str],
    guard: Guard = nullcontext,
    lightly: bool = False,
) -> Layout:
    """The layout of ``network``, groups that surgery would break or change locked with the reason.

    Args:
        guard, lightly: see :func:`spaces.doctor.check_groups`.
    """
    device = next(network.parameters()).device
    return check_groups(network, make_layout(network, example_input(shape, device), keep), shape, guard, lightly)
