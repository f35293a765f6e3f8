"""A user's network is tried before any work, and what its narrow relatives do then ends neither driver nor search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import search.survey
from search.drive import plan_settings
from search.forecast import forecast
from search.loading import ConfigError, parse_config
from search.plan import course_counts
from search.preflight import Preflight, check

TRAPPED = """
import os, signal, time
import torch
from torch import nn

class Trapped(nn.Module):
    def __init__(self, classes, trap):
        super().__init__()
        self.trap = trap
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 24, 3, padding=1)
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        if self.second.out_channels < 20:
            if self.trap == "raises":
                raise RuntimeError("narrow")
            if self.trap == "diverges":
                return x.new_full((len(x), self.head.out_features), float("nan"))
            if self.trap == "eats":
                torch.ones(2**30)
            if self.trap == "hangs":
                time.sleep(1e6)
            if self.trap == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))

def build(classes, trap=""):
    return Trapped(classes, trap)
"""


def survey(folder: Path, monkeypatch: pytest.MonkeyPatch, trap: str, **limits: Any) -> Preflight:
    (folder / "trapped.py").write_text(TRAPPED)
    monkeypatch.syspath_prepend(str(folder))
    return check(
        parse_config(
            {
                "name": "a",
                "data": {"source": "digits", "limit": 60},
                "network": {"name": "trapped:build", "arguments": {"trap": trap}},
                "tracking": {"enabled": False},
                "limits": limits,
            }
        )
    )


@pytest.mark.parametrize("trap", ["", "raises", "diverges", "eats", "hangs", "dies"])
def test_narrow_networks_that_fail_lock_nothing(trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.survey, "TRIAL_SECONDS", 1.0)
    found = survey(tmp_path, monkeypatch, trap, memory_mb=512)
    assert found.layout.names == ("first", "second")
    expected = forecast(found, course_counts(found.space, plan_settings(found.config)))
    assert 0 < expected.total < float("inf")


def test_a_process_of_its_own_finds_what_this_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = survey(tmp_path, monkeypatch, "")
    opened = search.survey._open
    monkeypatch.setattr(search.survey, "_open", lambda _, *rest: opened(False, *rest))
    here = survey(tmp_path, monkeypatch, "")
    assert here.space.hash == apart.space.hash
    assert (here.base, here.least) == (apart.base, apart.least)


@pytest.mark.parametrize(
    ("section", "setting"),
    [("base_training", {"push": 0.1}), ("training", {"loss": "l_gm"}), ("training", {"channel_correlation": 0.5})],
)
def test_losses_that_do_not_fit_the_network_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, setting: dict[str, Any]
) -> None:
    (tmp_path / "plain.py").write_text(
        "from torch import nn\n"
        "def build(classes):\n"
        "    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*layers)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {
        "name": "a",
        "data": {"source": "digits", "limit": 60},
        "network": {"name": "plain:build"},
        "tracking": {"enabled": False},
    }
    assert check(parse_config(config)).layout.groups
    with pytest.raises(ConfigError, match=rf"^{section}: .*{next(iter(setting))}.* has none; turn it off"):
        check(parse_config({**config, section: setting}))
    with pytest.raises(ConfigError, match=r"^controls.recipes: .* has none; leave push_prune out"):
        check(parse_config({**config, "controls": {"recipes": ["push_prune"]}}))
