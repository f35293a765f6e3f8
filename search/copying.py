"""A run in storage as a folder on this machine, for those who only look at it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.fetching import copy_down, in_storage, split_address
from search.loading import ConfigError
from search.storage import open_place

SMALL = ("config.yaml", "run.json", "standing.json", "report/measurements.json")


@contextmanager
def looked_at(run: str, weights: bool = False, keep: bool = False) -> Iterator[Callable[[], Path]]:
    """A function that gives the run's folder: ``run`` itself, or a copy of what lies in storage under that address.

    Each call brings the copy up to date.

    Args:
        weights: whether those of trained networks are needed, too.
        keep: whether the copy stays when the block ends.

    Raises:
        ConfigError: there is no run at the address.
        StorageError: storage does not answer.
    """
    if not in_storage(run):
        yield lambda: Path(run)
        return
    _, name = split_address(run)
    place = open_place(run)
    home = Path(tempfile.mkdtemp(prefix="niwaki-"))
    folder = home / name
    full: set[str] = set()

    def bring() -> Path:
        names = place.names()
        if "run.json" not in names:
            raise ConfigError(f"{place.uri}: no run there; give the address of one, such as s3://BUCKET/FOLDER/NAME")
        parts = sorted(name for name in names if name.startswith("archive/"))
        heavy = [name for name in names if weights and name.startswith("weights/") and name.endswith(".safetensors")]
        copy_down(place, [*names.keys() & set(SMALL), *(set(parts) - full), *heavy], folder)
        full.update(parts[:-1])  # parts that others follow never change again
        return folder

    try:
        yield bring
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)
