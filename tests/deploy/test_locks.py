"""What the images install is complete: a line that a lock lacks is a package that an image lacks."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from deployment import DEPLOY, ROOT, load
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

RUNTIME_LOCK = load(DEPLOY / "images" / "runtime_lock.py")
LOCKS = [(ROOT / name).read_text() for name in ("requirements.lock", "deploy/cluster.lock")]
LINES = [line for lock in LOCKS for line in lock.splitlines()]
PYTHONS = ["3.11", "3.12", "3.13"]


def held(lines: list[str], python: str) -> dict[str, str]:
    """The version of each package that Linux on x86-64 gets from these lines."""
    pinned = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    wanted = [one for one in pinned if one.marker is None or one.marker.evaluate(machine(python))]
    return {canonicalize_name(one.name): str(one.specifier) for one in wanted}


def machine(python: str, extra: str = "") -> dict[str, str]:
    linux = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    return {"python_version": python, "python_full_version": f"{python}.0", "extra": extra, **linux}


def needed(roots: list[str], python: str) -> set[str]:
    """All packages that these need on that Python, by what the packages installed here say of themselves."""
    seen: set[tuple[str, str]] = set()
    left = [Requirement(root) for root in roots]
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        for extra in {"", *one.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            try:
                said = [Requirement(line) for line in requires(one.name) or []]
            except PackageNotFoundError:  # what it needs is not known here
                continue
            left += [two for two in said if two.marker is None or two.marker.evaluate(machine(python, extra))]
    return {name for name, _ in seen}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_mlflow_image_lacks_nothing_on_any_python(python: str) -> None:
    lock = held((DEPLOY / "images" / "mlflow.lock").read_text().splitlines(), python)
    assert needed(["mlflow", "boto3", "psycopg2-binary"], python) - set(lock) == set()
    ours = held(LINES, python)
    assert {name: version for name, version in lock.items() if ours.get(name, version) != version} == {}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_other_images_lack_nothing_on_any_python(kind: str, python: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = project["dependencies"] + project["optional-dependencies"]["cluster"]
    missing = needed(roots, python) - set(held(RUNTIME_LOCK.select(LINES, kind), python))
    if kind == "cpu":  # PyTorch's CPU build needs none of CUDA
        missing = {name for name in missing if not name.startswith(RUNTIME_LOCK.CUDA)}
    assert missing == set()
