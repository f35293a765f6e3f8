"""What of the driver's code travels to machines that do not have it: this project, and the user's own modules.

The user's modules are those that a configuration names as ``package.module:attribute``, and what lies beside them,
since they may import it: files and packages of Python, so neither data nor runs nor virtual environments.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = ("search", "spaces", "workers")

LEFT_OUT = ("__pycache__", ".venv", "venv", ".git")
"""Names that do not travel from inside packages either."""

LARGEST_MB = 50.0
"""Ray keeps what travels in the head's memory."""


class TooLarge(ValueError):
    """Beside the user's modules lies more than can travel."""


def travelling(names: Iterable[str]) -> list[str]:
    """Paths of the packages and files that must be importable on every machine, the project's own first.

    Args:
        names: ``package.module:attribute`` as configurations have them; others are passed over.

    Raises:
        TooLarge: they are larger than :data:`LARGEST_MB` together.
    """
    own = [path for name in PROJECT for path in [_place(name)] if path is not None]
    modules = {name.partition(":")[0].partition(".")[0] for name in names if ":" in name}
    named = [path for name in sorted(modules) for path in [_place(name)] if path is not None and not _installed(path)]
    beside = [path for folder in sorted({path.parent for path in named}) for path in _modules_in(folder)]
    paths = list(dict.fromkeys([*own, *named, *beside]))
    _check_size(paths)
    return [str(path) for path in paths]


def _place(name: str) -> Path | None:
    """Where the top-level module ``name`` lies: a package's folder, or a file."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as when it is imported
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or []) or [spec.origin or ""]
    path = Path(places[0])
    return path.resolve() if path.is_dir() or path.suffix == ".py" else None


def _installed(path: Path) -> bool:
    """Whether it came with Python or by an installer: then it is for every machine's installer to bring."""
    paths = sysconfig.get_paths()
    return any(path.is_relative_to(Path(paths[kind]).resolve()) for kind in ("stdlib", "purelib", "platlib"))


def _modules_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in (*LEFT_OUT, "setup.py", "conftest.py"):
            continue
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            yield path


def _check_size(paths: Iterable[Path]) -> None:
    sizes = {path: _size(path) for path in paths}
    total = sum(sizes.values()) / 2**20
    if total > LARGEST_MB:
        largest = max(sizes, key=lambda path: sizes[path])
        raise TooLarge(
            f"your modules and what lies beside them take {total:.0f} MB, {largest} alone "
            f"{sizes[largest] / 2**20:.0f} MB, and at most {LARGEST_MB:g} MB travel to the cluster; keep "
            "them in a folder of their own, without data"
        )


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(_size(child) for child in path.iterdir() if child.name not in LEFT_OUT and not child.is_symlink())
