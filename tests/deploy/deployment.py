"""Where the deployment's files lie, and how tests read and render them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(
    path
    for path in DEPLOY.rglob("*")
    if path.is_file() and re.match(rb"#!/bin/(ba)?sh\n", path.read_bytes()[:12]) is not None
)


def load(path: Path) -> ModuleType:
    """A script of the deployment as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RENDER = load(DEPLOY / "render.py")


def rendered(name: str, **given: str) -> str:
    """A manifest, such as ``kubernetes/rayjob.yaml``, with its open values filled in."""
    path = DEPLOY / name
    text: str = RENDER.render(path.read_text(), RENDER.read_values(path.parent / "values.env"), given)
    return text


def documents(name: str, **given: str) -> list[dict[str, Any]]:
    """The same, read."""
    return list(yaml.safe_load_all(rendered(name, **given)))


def tool(name: str) -> str:
    """A linter beside this Python or on the path; the test is skipped where there is none."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: it comes with the development packages")
    return found


def schema(name: str) -> Path:
    """A published schema in the folder that NIWAKI_SCHEMAS names; the test is skipped where there is none."""
    path = Path(os.environ.get("NIWAKI_SCHEMAS", "")) / name
    if "NIWAKI_SCHEMAS" not in os.environ or not path.exists():
        pytest.skip(f"set NIWAKI_SCHEMAS to a folder that holds {name}")
    return path


def locked(package: str) -> str:
    """The version that requirements.lock pins."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]
