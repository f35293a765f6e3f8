"""The command line: help with an example, results on standard output, progress and refusals on standard error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from search import cli
from search.loading import ConfigError
from workers.cluster import ClusterError, NoCluster

COMMANDS = [
    "search",
    "resume",
    "inspect",
    "complexity",
    "criteria",
    "report",
    "status",
    "watch",
    "page",
    "export",
    "sync",
    "compare",
]
DIGITS = ["inspect", "inception", "digits", "--set", "data.limit=60", "--set", "space.growth=0"]
SMALL = [*DIGITS, "--set", "network.arguments={stem: 4, widths: [8], modules: [1]}"]


def run(*arguments: str) -> int:
    return cli._guarded(lambda: cli.app(list(arguments), standalone_mode=False))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    out, err = capsys.readouterr()
    assert f"Example: niwaki {command} " in " ".join(out.split())
    assert err == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert {c.name or c.callback.__name__ for c in cli.app.registered_commands if c.callback} == set(COMMANDS)


def test_help_loads_neither_torch_nor_ray() -> None:
    check = "import sys; from search.cli import main; sys.argv[1:] = ['--help']\n"
    check += "try: main()\nexcept SystemExit: assert not {'torch', 'ray', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serch"],
        ["search"],
        ["search", "a", "b"],
        ["search", "a", "--sed", "1"],
        ["export", "a", "--max-params", "0"],
        ["export", "a", "--max-params", "few"],
        ["export", "a", "--max-latency-ms", "nan"],
        ["export", "a", "--max-accuracy-drop", "2"],
        ["compare", "a"],
    ],
)
def test_a_wrong_command_line_is_bad_input(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert "Usage" in out + err
    assert "Traceback" not in out + err
    if arguments:
        assert out == ""
        assert "Error" in err


def raises(error: BaseException) -> Callable[[], Any]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConfigError("seed: no"), 2, "niwaki: seed: no\n"),
        (NoCluster("cluster.address: no"), 2, "niwaki: cluster.address: no\n"),
        (ClusterError("lost"), 1, "niwaki: lost\n"),
        (PermissionError(13, "Permission denied", "runs/a"), 1, "niwaki: runs/a: Permission denied\n"),
        (KeyboardInterrupt(), 1, "niwaki: stopped; `niwaki resume RUN` goes on from here\n"),
        (typer.Abort(), 1, "niwaki: stopped; `niwaki resume RUN` goes on from here\n"),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._guarded(raises(error)) == code
    assert capsys.readouterr() == ("", told)


def test_our_own_mistakes_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        cli._guarded(raises(ZeroDivisionError()))


def test_an_exit_code_of_a_command_is_passed_on() -> None:
    assert cli._guarded(lambda: None) == 0
    assert cli._guarded(lambda: 1) == 1


def test_inspecting_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--json") == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert err == ""
    assert answer["data"]["shape"] == [1, 8, 8]
    assert answer["cost"]["params"]["least"] < answer["cost"]["params"]["base"]
    assert answer["seconds"]["total"] > 0


def test_inspecting_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--set", "budget.params=1/2") == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("stem.conv", "least share", "data digits: ", "network inception: ", "budget: at most", "forecast: "):
        assert text in out


PRINTING = """
import torch
from torch import nn

print("imported")

def build(classes):
    print("built")
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, classes))
"""


def test_a_factory_that_prints_does_not_spoil_results(tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTING)
    answer = subprocess.run(
        [Path(sys.executable).with_name("niwaki"), "inspect", "printing:build", "digits", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(answer.stdout)["network"] == "printing:build"
    assert "built" in answer.stderr
