"""What driver and workers must have alike, since numbers and pickles depend on it."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping

PACKAGES = ("niwaki", "torch", "ray")

MISSING = "missing"


def own_versions() -> dict[str, str]:
    """Python's minor version and those of :data:`PACKAGES`, of this process; :data:`MISSING` where not installed."""
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = MISSING
    return versions


def differences(driver: Mapping[str, str], machine: Mapping[str, str]) -> str:
    """``torch 2.9.0 (here 2.10.0)`` for each that differs; empty where all are alike."""
    found = ((name, machine.get(name, MISSING), here) for name, here in driver.items())
    return ", ".join(f"{name} {there} (here {here})" for name, there, here in found if there != here)
