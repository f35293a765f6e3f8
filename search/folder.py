"""A run's folder: where everything of a run lies, who may write there, and what a resumed run must agree with."""

from __future__ import annotations

import fcntl
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from search.archive import check_archive
from search.config import SearchConfig
from search.ledger import read_ledger
from search.loading import ConfigError, dump_config, parse_config, read_settings
from search.report import Finals, read_finals
from search.report.write import MEASUREMENTS
from workers.atomic import replacing


@dataclass(frozen=True)
class RunRecord:
    """What a run keeps besides its configuration and archive, in ``run.json``.

    Attributes:
        id: unique; MLflow runs carry it as a tag.
        space: hash of the search space; a resumed run must have the same.
        window: evaluations asked for ahead of the last commit, fixed when the run started.
        base_seconds: device-seconds of base training and scoring; 0 until done.
        registered: the registered model version as a URI, once there is one.
    """

    id: str
    space: str
    window: int
    base_seconds: float = 0.0
    registered: str | None = None


class RunFolder:
    """Paths of a run, and its record."""

    def __init__(self, path: Path) -> None:
        self.path = path if path.name not in ("", "..") else path.resolve()
        self.config_file = path / "config.yaml"
        self.record_file = path / "run.json"
        self.archive = path / "archive"
        self.weights = path / "weights"
        self.report = path / "report"

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.record_file.exists()

    def load_config(self) -> SearchConfig:
        """The configuration that the run was started with; the folder may have moved since.

        Raises:
            ConfigError: there is no run here, or its configuration is damaged.
        """
        if not self.exists():
            raise ConfigError(
                f"{self.path}: no run there; give a folder that `niwaki search` wrote, such as runs/digits"
            )
        config = parse_config(read_settings(self.config_file), str(self.config_file))
        ledger = read_ledger(self.path)
        storage = config.storage if ledger is None else ledger.storage
        return config.model_copy(update={"out": self.path.parent, "name": self.path.name, "storage": storage})

    def check(self, config: SearchConfig, space: str) -> None:
        """Refuse, before a cluster starts, what :meth:`start` or the archive would refuse after; nothing is written.

        Raises:
            ConfigError: another run lies here, its space was another, or its files are damaged.
            ArchiveError: committed rows are damaged or missing.
        """
        if self.exists():
            self._matching_record(config, space)
            check_archive(self.archive)

    def start(self, config: SearchConfig, space: str, window: int) -> RunRecord:
        """Create the folder with the run's configuration; or, where the same run lies there already, its record.

        Raises:
            ConfigError: another run lies there, or its space was another.
        """
        if self.exists():
            return self._matching_record(config, space)
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.config_file) as temporary:
            temporary.write_text(dump_config(config), encoding="utf-8")
        record = RunRecord(uuid.uuid4().hex, space, window)
        self.save_record(record)
        return record

    def _matching_record(self, config: SearchConfig, space: str) -> RunRecord:
        record = self.load_record()
        if not _same(self.load_config(), config):
            raise ConfigError(
                f"name: {self.path} holds a run with another configuration; choose another name (--set name=…), or "
                f"continue that one with `niwaki resume {self.path}`"
            )
        if record.space != space:
            raise ConfigError(
                f"{self.path}: the search space is not the one that the run was started with; the network's code, "
                "the data or torch-pruning's version has changed"
            )
        return record

    @property
    def finished(self) -> bool:
        """Whether the run has been concluded."""
        return (self.report / MEASUREMENTS).exists()

    def load_finals(self) -> Finals:
        """The run's final measurements.

        Raises:
            ConfigError: it is not finished, or they are damaged.
        """
        if not self.finished:
            raise ConfigError(f"{self.path}: the run is not finished; `niwaki resume {self.path}` goes on with it")
        try:
            return read_finals(self.report)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{' '.join(str(error).split())}; `niwaki resume {self.path}` measures and writes it again"
            ) from None

    def load_record(self) -> RunRecord:
        """The run's record.

        Raises:
            ConfigError: it is damaged.
        """
        try:
            record = TypeAdapter(RunRecord).validate_json(self.record_file.read_bytes(), strict=True)
            if record.window < 1:
                raise ValueError(f"window: must be at least 1, got {record.window}")
            return record
        except (OSError, ValueError) as error:
            fault = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            place = ".".join(map(str, fault["loc"]))
            reason = f"{place}: {fault['msg']}" if place else fault["msg"]
            raise ConfigError(f"{self.record_file}: damaged ({reason}); restore it from a copy") from None

    def save_record(self, record: RunRecord) -> None:
        """Replace the run's record."""
        with replacing(self.record_file) as temporary:
            temporary.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else drives this run while the block lasts; the lock goes with the process.

        Raises:
            ConfigError: another driver is at work here.
        """
        with (self.path / ".lock").open("w") as file:
            if not _lock(file):
                raise ConfigError(f"{self.path}: another process runs this search; wait for it, or stop it")
            yield


def _lock(file: IO[str]) -> bool:
    """Lock a file; a watcher that asks whether it is locked holds it for an instant, so a refusal is tried again."""
    for patience in (0.01, 0.1, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(patience)
    return False


def _same(first: SearchConfig, second: SearchConfig) -> bool:
    """Whether two configurations describe the same search; where it runs may differ."""
    places = {"out": Path(), "storage": None}
    moving = {**places, "cluster": first.cluster, "tracking": first.tracking, "export": first.export}
    return first.model_copy(update=moving) == second.model_copy(update=moving)
