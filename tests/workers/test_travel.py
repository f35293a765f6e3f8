"""What travels to a cluster: the project, and the user's modules with what they may import; no data, no runs."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from workers import travel
from workers.travel import LEFT_OUT, TooLarge, travelling

PROJECT = {"search", "spaces", "workers"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in (
        "my_travelling_nets/__init__.py",
        "my_travelling_nets/small.py",
        "my_travelling_parts/__init__.py",
        "my_travelling_score.py",
        "conftest.py",
        "notes.txt",
        "data/train.parquet",
        "runs/first/run.json",
        ".venv/lib/thing.py",
        "plain/thing.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def names(paths: list[str]) -> set[str]:
    return {Path(path).name for path in paths}


def test_the_project_travels_alone_where_the_user_has_no_code(home: Path) -> None:
    assert names(travelling(["inception", "l1"])) == PROJECT


def test_a_module_travels_with_those_beside_it(home: Path) -> None:
    paths = travelling(["my_travelling_nets.small:build"])
    assert names(paths) == PROJECT | {"my_travelling_nets", "my_travelling_parts", "my_travelling_score.py"}
    assert all(Path(path).is_absolute() for path in paths)
    assert set(paths) == set(travelling(["my_travelling_score:score", "my_travelling_nets:build"]))


def test_a_folder_without_init_travels_where_it_is_named(home: Path) -> None:
    assert "plain" in names(travelling(["plain.thing:build"]))


def test_what_is_installed_does_not_travel(home: Path) -> None:
    assert names(travelling(["torchvision.models:resnet18", "json:loads", "no_such_module:f"])) == PROJECT


def test_too_much_is_refused_with_the_largest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "LARGEST_MB", 5.0)
    (home / "my_travelling_nets" / "weights.bin").write_bytes(bytes(6 * 2**20))
    with pytest.raises(TooLarge, match=r"my_travelling_nets alone 6 MB, and at most 5 MB"):
        travelling(["my_travelling_score:score"])


def test_ray_packs_what_travels(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With our patterns of what is left out, by Ray's own function, which is private and may change."""
    from ray._private.runtime_env.packaging import create_package

    (home / "my_travelling_nets" / ".git").mkdir()
    (home / "my_travelling_nets" / ".git" / "large.bin").write_bytes(b"x")
    packed = set()
    for number, path in enumerate(travelling(["my_travelling_nets:build"])):
        target = tmp_path_factory.mktemp("packed") / f"{number}.zip"
        create_package(
            path, target, include_gitignore=True, include_parent_dir=Path(path).is_dir(), excludes=list(LEFT_OUT)
        )
        packed |= set(ZipFile(target).namelist())
    assert {"my_travelling_nets/small.py", "my_travelling_parts/__init__.py", "my_travelling_score.py"} <= packed
    assert {"search/cli.py", "spaces/space.py", "workers/data/__init__.py", "workers/cluster.py"} <= packed
    assert not [name for name in packed if "__pycache__" in name or ".git/" in name]


def test_what_is_left_out_does_not_count(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "LARGEST_MB", 5.0)
    for folder in ("__pycache__", ".venv", ".git"):
        (home / "my_travelling_nets" / folder).mkdir()
        (home / "my_travelling_nets" / folder / "large.bin").write_bytes(bytes(6 * 2**20))
    assert "my_travelling_nets" in names(travelling(["my_travelling_nets:build"]))
