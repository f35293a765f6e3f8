"""What of a run's folder is in storage already, noted in the folder itself by the driver that publishes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from workers.atomic import replacing

FILE = ".storage.json"


@dataclass
class Ledger:
    """The ledger of one folder.

    Attributes:
        storage: URI of the folder of runs in storage that the run is published to.
        drivers: ids of the last drivers that published from this folder, or that it was brought down from: where
            storage names another, the run went on elsewhere.
        sent: by name, the mark that the file had when it was published; see :func:`mark`.
    """

    storage: str
    drivers: tuple[str, ...] = ()
    sent: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Replace the folder's ledger."""
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_ledger(folder: Path) -> Ledger | None:
    """The folder's ledger; ``None`` where it has none that can be read."""
    try:
        return _ADAPTER.validate_json((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return None


def mark(path: Path) -> str:
    """What tells a file from its next version: every writer here replaces files whole.

    Raises:
        FileNotFoundError: it is gone.
    """
    found = path.stat()
    return f"{found.st_mtime_ns}-{found.st_size}"


_ADAPTER = TypeAdapter(Ledger)
