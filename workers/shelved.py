"""A training whose state is a file of the run: gone on with by whichever machine is next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from workers.batches import Tensors
from workers.shelf import Shelf
from workers.train import Preempted, TrainSettings, train


def train_on_shelf(
    shelf: Shelf,
    state: Path,
    network: nn.Module,
    data: Tensors,
    settings: TrainSettings,
    seed: int,
    soft_labels: torch.Tensor | None,
    until: int | None = None,
) -> None:
    """:func:`workers.train.train` with its state in a file of the shelf."""
    with on_shelf(shelf, state) as after_epoch:
        train(network, data, settings, seed, soft_labels, state, after_epoch=after_epoch, until=until)


@contextmanager
def on_shelf(shelf: Shelf, state: Path) -> Iterator[Callable[[int], None]]:
    """For any training: what it goes on from is fetched, and handed over at times and when it is preempted.

    The value is the training's ``after_epoch``.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    shelf.fetch(state)
    try:
        yield shelf.hand_over_at_times(state)
    except Preempted:
        shelf.hand_over(state)
        raise
