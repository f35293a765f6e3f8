"""A run brought down from storage onto a machine that has nothing of it, whole and checked."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search.archive import SEALED, ArchiveError, check_archive, read_archive
from search.config import SearchConfig, check_storage
from search.folder import RunFolder
from search.lease import FILE as DRIVER
from search.lease import Holder, wait_until_free
from search.ledger import Ledger, mark, read_ledger
from search.loading import ConfigError
from search.schema import evaluations_of
from search.storage import Place, StorageError, open_place
from workers.evaluate import weights_path
from workers.evaluation import FINISH, RECIPES, SCRATCH, TRAIN, Evaluation
from workers.tensors import CheckpointError, check_tensors

AT_ONCE = 8
"""Files that are read at the same time."""

MEND = "check the address, the bucket, and what the environment says (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …)"

KEPT = (TRAIN, SCRATCH, FINISH, *RECIPES)
"""Stages whose weights a run keeps."""


def place_of(config: SearchConfig) -> Place | None:
    """Where the run is published; ``None`` where it is not."""
    return None if config.storage is None else open_place(f"{config.storage}/{config.name}")


def in_storage(run: str) -> bool:
    """Whether a run is named by its address in storage rather than by a folder."""
    return re.match(r"[a-z][a-z0-9+.-]+://", run, re.IGNORECASE) is not None


def split_address(run: str) -> tuple[str, str]:
    """The folder of runs and the name in ``s3://BUCKET/FOLDER/NAME``.

    Raises:
        ConfigError: it is no such address.
    """
    try:
        storage, _, name = check_storage(run).rpartition("/")
        check_storage(storage)
    except ValueError as error:
        raise ConfigError(f"RUN: the address of a run in storage {error}") from None
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(f"RUN: {storage}/{name}: ends in no name of a run; give s3://BUCKET/FOLDER/NAME")
    return storage, name


def bring_run(run: str, out: Path, tell: Callable[[str], None]) -> Path:
    """Bring the run at an address in storage down to its folder in ``out``; that folder.

    Raises:
        ConfigError: there is none, another driver is at work on it, it is damaged, or the folder is taken.
        ArchiveError: its archive is damaged.
        StorageError: storage does not answer.
    """
    storage, name = split_address(run)
    place = open_place(run)
    folder = RunFolder(out / name)
    if folder.exists():
        raise ConfigError(
            f"{folder.path}: a run lies there already; `niwaki resume {folder.path}` goes on with it where it is the "
            "latest copy, else choose another folder (--out DIR)"
        )
    if _read_record(place) is None:
        raise ConfigError(f"{place.uri}: no run there; give the address of one, such as s3://BUCKET/FOLDER/NAME")
    bring_down(place, folder.path, storage, tell)
    return folder.path


def agree(place: Place, config: SearchConfig, tell: Callable[[str], None]) -> None:
    """Make sure that the run's folder is its latest copy, by bringing it down where there is none here.

    Raises:
        ConfigError: another run lies in storage under this name, the run went on elsewhere since, or another driver
            is at work on it.
        StorageError: storage does not answer.
    """
    folder = RunFolder(config.folder)
    there = _read_record(place)
    _try_writing(place)
    if there is None:
        return
    if not folder.exists():
        bring_down(place, folder.path, str(config.storage), tell)
        return
    if folder.load_record().id.encode() not in there:
        raise ConfigError(
            f"storage: another run lies at {place.uri}; choose another name (--set name=…) or another storage"
        )
    ledger, holder = read_ledger(folder.path), wait_until_free(place, tell)
    if holder is not None and (ledger is None or holder.driver not in ledger.drivers):
        raise ConfigError(
            f"storage: the run went on elsewhere (on {holder.host}) since {folder.path} was left; move that folder "
            f"away and `niwaki resume {place.uri}`"
        )


def bring_down(place: Place, path: Path, storage: str, tell: Callable[[str], None]) -> None:
    """Copy the run in ``place`` to ``path``, whole or not at all, and check it.

    Raises:
        ConfigError, ArchiveError, StorageError: as :func:`bring_run`.
    """
    holder = wait_until_free(place, tell)
    tell(f"bringing the run down from {place.uri}")
    names = [name for name in place.names() if name != DRIVER]
    temporary = path.parent / f".{secrets.token_hex(4)}.{path.name}"
    try:
        copy_down(place, names, temporary)
        _check(RunFolder(temporary), place)
        _note(temporary, names, storage, holder)
        _drop_ended(temporary)
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise ConfigError(
                f"{path}: the run cannot be brought down there ({error.strerror}); choose another folder (--out DIR)"
            ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_record(place: Place) -> bytes | None:
    try:
        return place.read("run.json")
    except StorageError as error:
        raise StorageError(f"{error}; {MEND}") from None


def _try_writing(place: Place) -> None:
    """Find out before any work whether there is a bucket, and who may write there."""
    try:
        place.write(".try", b"")
        place.remove(".try")
    except StorageError as error:
        raise StorageError(f"{error}; {MEND}") from None


def copy_down(place: Place, names: Iterable[str], folder: Path) -> None:
    """Copy objects to files in ``folder``.

    Raises:
        StorageError: storage does not answer, or an object is gone.
    """

    def copy(name: str) -> None:
        content = place.read(name)
        if content is None:
            raise StorageError(f"storage {place.uri}: {name} is gone; is another driver at work on this run?")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy, names))


def _check(folder: RunFolder, place: Place) -> None:
    """Refuse a run that could not be gone on with; messages name storage, not the folder that is on its way."""
    try:
        folder.load_config()
        folder.load_record()
        check_archive(folder.archive)
        for evaluation in _trained(folder):
            check_tensors(weights_path(folder.path, evaluation.request))
    except (ConfigError, ArchiveError, CheckpointError) as error:
        raise type(error)(str(error).replace(str(folder.path), place.uri)) from None


def _trained(folder: RunFolder) -> Iterable[Evaluation]:
    if not folder.archive.is_dir():
        return []
    return [e for e in evaluations_of(read_archive(folder.archive)) if e.ok and e.request.stage in KEPT]


def _note(folder: Path, names: Iterable[str], storage: str, holder: Holder | None) -> None:
    sent = {name: SEALED if name.startswith("archive/") else mark(folder / name) for name in names}
    Ledger(storage, () if holder is None else (holder.driver,), sent).save(folder)


def _drop_ended(folder: Path) -> None:
    """States of trainings that are committed: their driver died before it removed them from storage."""
    for evaluation in _trained(RunFolder(folder)):
        weights_path(folder, evaluation.request).with_suffix(".checkpoint").unlink(missing_ok=True)
