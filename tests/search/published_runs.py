"""Runs of no cost: a folder with a configuration, an archive and weights, and storage beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from search.archive import Archive
from search.config import SearchConfig
from search.fetching import place_of
from search.folder import RunFolder
from search.loading import parse_config
from search.mirror import Publisher, mirrored
from search.storage import Place
from search.view import Quiet
from spaces.genome import Genome
from workers.evaluate import weights_path
from workers.evaluation import OK, PROBE, TRAIN, Evaluation, Outcome, Request
from workers.tensors import save_tensors


class Heard(Quiet):
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def config_in(home: Path, machine: str = "here", storage: str | None = None) -> SearchConfig:
    """A run on ``machine``, which has a folder of its own in ``home``; storage is shared."""
    return parse_config(
        {
            "name": "small",
            "out": str(home / machine),
            "storage": storage or (home / "store").as_uri(),
            "data": {"source": "digits"},
        }
    )


def evaluation(number: int) -> Evaluation:
    """Every fourth is a training."""
    stage = TRAIN if number % 4 == 3 else PROBE
    request = Request(number, stage, Genome((), 1.0, (number / 9999,), ()), "test")
    return Evaluation(request, Outcome(number, OK, metrics={"accuracy": 0.5, "params": number}, embedding=(0.1, 0.2)))


def commit(archive: Archive, folder: RunFolder, until: int) -> None:
    """Evaluations up to ``until``, those of trainings with their weights."""
    for number in range(len(archive), until):
        made = evaluation(number)
        if made.request.stage == TRAIN:
            save_tensors(weights_path(folder.path, made.request), {"w": torch.full((4,), float(number))})
        archive.append([made])


@contextmanager
def driving(config: SearchConfig, view: Quiet | None = None) -> Iterator[tuple[RunFolder, Archive, Publisher]]:
    """What a driver has while it is at work."""
    folder = RunFolder(config.folder)
    folder.start(config, "space", 4)
    archive = Archive(folder.archive)
    try:
        with mirrored(folder, place_of(config), config.storage, view or Quiet()) as mirror:
            assert isinstance(mirror, Publisher)
            yield folder, archive, mirror
    finally:
        archive.close()


def stored(config: SearchConfig) -> Place:
    """Where the run is published."""
    place = place_of(config)
    assert place is not None
    return place
