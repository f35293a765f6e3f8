"""Versions of driver and machines, told apart in words that name both."""

from __future__ import annotations

import importlib.metadata
import sys

from workers.versions import MISSING, PACKAGES, differences, own_versions


def test_own_versions_are_those_installed() -> None:
    own = own_versions()
    assert own["python"] == ".".join(map(str, sys.version_info[:2]))
    assert {name: own[name] for name in PACKAGES} == {name: importlib.metadata.version(name) for name in PACKAGES}
    assert differences(own, own_versions()) == ""


def test_each_difference_is_named_with_both_versions() -> None:
    here = {"python": "3.12", "torch": "2.10.0", "ray": "2.55.0"}
    assert differences(here, {**here, "torch": "2.9.1"}) == "torch 2.9.1 (here 2.10.0)"
    assert differences(here, {**here, "extra": "1"}) == ""
    assert differences(here, {"python": "3.11", "torch": "2.10.0"}) == (
        f"python 3.11 (here 3.12), ray {MISSING} (here 2.55.0)"
    )
