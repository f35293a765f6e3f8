"""`niwaki criteria`: what it writes and says on a tiny network, what it draws of made-up figures, what it refuses."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search import cli
from search.criteria import sentences
from search.criteria.page import build_page
from search.criteria.plots import draw_plots
from search.criteria.report import CriteriaReport, GroupAgreement, Measured
from search.criteria.tables import SHOWN_GROUPS, render
from search.criteria.tree import grow_tree
from search.criteria.write import folder_name
from spaces.agreement import jaccard, spearman
from spaces.blend import ranks
from spaces.criteria import CRITERIA

PICTURES = {"agreement.png", "pruned_sets.png", "groups.png"}
FILES = {"criteria.html", "criteria.json", "base.safetensors", *PICTURES}
TINY = [
    *("inception", "digits", "--set", "data.limit=80", "--set", "base_training.epochs=1"),
    *("--set", "network.arguments={stem: 4, widths: [8], modules: [1]}", "--set", "probe.scoring_images=32"),
]
HOSTILE = "<script>alert(1)</script>\x1b[31m & \"$x_1$'"


def run(*arguments: str) -> int:
    return cli._guarded(lambda: cli.app(["criteria", *arguments], standalone_mode=False))


def make_report(names: Sequence[str], looks: Sequence[str], tables: dict[str, np.ndarray]) -> CriteriaReport:
    """A report on given scores ``[J, C]`` by group, half of the channels pruned."""
    groups = []
    for group, scores in tables.items():
        table = np.array([ranks(row) for row in scores])
        out = tuple(name for name, row in zip(names, table, strict=True) if (row == 0.5).all())
        kept = max(1, scores.shape[1] // 2)
        groups.append(GroupAgreement(group, scores.shape[1], kept, spearman(table), jaccard(table, kept), out))
    measured = Measured("net", "set", (1, 8, 8), 10, 100, 50, None, 3, 0.9, 0.5, 0)
    return CriteriaReport(measured, tuple(names), tuple(looks), tuple(groups))


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    assert run(*TINY, "--set", "space.criteria=[l1, l2, taylor, random]", "--out", str(out)) == 0
    told, err = capsys.readouterr()
    for text in ("Criteria agree by", "base network inception on digits, trained for 1 epoch", "32 of", "50% stay"):
        assert text in " ".join(told.split())
    assert "training inception: 1 epochs" not in told
    assert "training inception" in err
    assert str(out / "criteria.html") in told.replace("\n", "")
    assert {path.name for path in out.iterdir()} == FILES
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)


def test_for_programs_all_criteria_and_the_same_from_written_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    weights = f"network.weights={tmp_path / 'a' / 'base.safetensors'}"
    for name, more in (("a", []), ("b", ["--set", weights])):
        assert run(*TINY, *more, "--json", "--quiet", "--width", "0.25", "--out", str(tmp_path / name)) == 0
        out, err = capsys.readouterr()
        assert err == ""
        answers.append(json.loads(out))
        assert json.loads((tmp_path / name / "criteria.json").read_text()).items() <= answers[-1].items()
    trained, read = answers
    assert read["measured"].pop("weights").endswith("base.safetensors")
    assert trained["measured"].pop("weights") is None
    assert trained.pop("report") != read.pop("report")
    assert trained == read
    assert [c["name"] for c in trained["criteria"]] == list(CRITERIA)
    assert {c["looks_at"] for c in trained["criteria"]} == {"weights", "data", "nothing"}
    table = np.array(trained["spearman"], dtype=float)
    assert table.shape == (len(CRITERIA), len(CRITERIA))
    assert np.array_equal(table, table.T, equal_nan=True)
    assert np.nanmax(np.abs(table)) <= 1
    for group in trained["groups"]:
        assert group["kept"] == max(1, round(0.25 * group["size"]))
        silent = [i for i, c in enumerate(CRITERIA) if c in group["left_out"]]
        constant = np.isnan(np.diag(np.array(group["spearman"], dtype=float)))
        assert np.flatnonzero(constant).tolist() == silent or group["size"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["inception", "nowhere.parquet"], "no such file"),
        (["inceptoin", "digits"], "inceptoin"),
        ([*TINY, "--width", "1"], "--width: must lie between 0 and 1"),
        ([*TINY, "--set", "space.criteria=[l1]"], "one criterion has none to agree with"),
        ([*TINY, "--set", "space.criteria=[l1, tailor]"], "did you mean 'taylor'"),
        ([*TINY, "--set", "space.criterion=[l1, l2]"], "criteria"),
        ([*TINY, "--set", "network.weights=nowhere.safetensors"], "network.weights"),
    ],
)
def test_what_is_refused(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inside", [[], ["deep", "er"]])
def test_a_file_in_the_place_of_the_folder_is_refused_before_any_work(
    inside: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert run(*TINY, "--out", str(file.joinpath(*inside))) == 2
    assert capsys.readouterr().err == f"niwaki: --out: {file} is a file; give a folder\n"
    assert file.read_text() == "mine"


@pytest.mark.parametrize(("count", "groups"), [(2, 70), (3, 1), (30, 2)])
def test_every_number_of_criteria_and_groups_can_be_shown(count: int, groups: int) -> None:
    rng = np.random.default_rng(count)
    names = [f"{HOSTILE} {i}" for i in range(count)]
    report = make_report(
        names,
        ["data", "weights"] + ["data"] * (count - 2),
        {f"g{i}": rng.uniform(size=(count, 9)) for i in range(groups)},
    )
    plots = draw_plots(report)
    assert set(plots) == PICTURES
    assert all(max(Image.open(io.BytesIO(png)).size) < 2400 for png in plots.values())
    page = build_page(report, plots)
    assert "<script" not in page
    assert "\x1b" not in page
    assert not re.search(r"""(src|href)="(?!data:image/png)""", page)
    assert len(list(render(report))[-1].rows) == min(groups, SHOWN_GROUPS)  # type: ignore[union-attr]


def test_where_no_criterion_tells_channels_apart() -> None:
    report = make_report(["a", "b"], ["data", "weights"], {"g": np.ones((2, 4)), "h": np.ones((2, 1))})
    assert sentences.title(report) == "No two criteria tell the channels of any group apart"
    assert "a (2 of 2) and b (2 of 2)" in sentences.left_out_line(report)
    plots = draw_plots(report)
    assert set(plots) == PICTURES
    assert build_page(report, plots)
    assert list(render(report))
    json.dumps(report.to_json(), allow_nan=False)


def planted() -> CriteriaReport:
    """Two blocks of three, ``b2`` the same order as ``b1``; ``quiet`` speaks in one of two groups; and random."""
    rng = np.random.default_rng(0)
    names = ["a1", "b1", "quiet", "a2", "random", "b2", "a3", "b3"]
    tables = {}
    for group in ("g", "h"):
        a, b, other = rng.uniform(1, 2, (3, 60))
        noise = iter(0.1 * rng.normal(size=(4, 60)))
        quiet = other if group == "g" else np.ones(60)
        rows = [a, b, quiet, a + next(noise), rng.uniform(size=60), 3 * b, a + next(noise), b + next(noise)]
        tables[group] = np.array(rows)
    looks = {"a": "data", "r": "nothing"}
    return make_report(names, [looks.get(name[0], "weights") for name in names], tables)


def test_blocks_are_found_and_named() -> None:
    report = planted()
    assert {frozenset(block) for block in report.blocks()} == {
        frozenset({"a1", "a2", "a3"}),
        frozenset({"b1", "b2", "b3"}),
    }
    line = sentences.blocks_line(report)
    assert line.startswith("2 blocks (ρ of 0.7 and more): ")
    assert line.endswith("; all but the same: b1 and b2")
    assert "b1 and b2" not in sentences.title(report)
    order = [report.criteria[i] for i in report.tree.order]
    places = sorted(order.index(name) for name in ("a1", "a2", "a3"))
    assert places[-1] - places[0] == 2
    assert all("b1 and b2" not in cell for row in sentences.group_rows(report) for cell in row)


def test_means_leave_out_the_yardstick_and_what_takes_no_part() -> None:
    report = planted()
    assert report.left_out() == {"quiet": ("h",)}
    assert "quiet (1 of 2)" in sentences.left_out_line(report)
    assert all("random" not in (pair.first, pair.second) for pair in report.pairs(report.spearman))
    i, j = report.criteria.index("quiet"), report.criteria.index("a1")
    assert report.spearman[i, j] == report.groups[0].spearman[i, j]
    pairs = [(a, b) for k, a in enumerate(report.judged) for b in report.judged[k + 1 :]]
    assert report.mean(report.spearman) == pytest.approx(np.mean([report.spearman[pair] for pair in pairs]))
    among = [report.spearman[pair] for pair in [(0, 3), (0, 6), (3, 6)]]  # a1, a2, a3
    assert report.mean_between(report.spearman, "data", "data") == pytest.approx(np.mean(among))
    rows = {row[0]: row for row in sentences.criteria_rows(report)}
    assert rows["b1"][2] == "b2"
    assert rows["quiet"][-1] == "1 of 2"


def test_the_tree_joins_the_most_alike_first_and_leaves_out_the_silent() -> None:
    correlation = np.array([[1, 0.1, np.nan, 0.9], [0.1, 1, np.nan, 0.3], [np.nan] * 4, [0.9, 0.3, np.nan, 1]])
    tree = grow_tree(correlation)
    assert tree.members == (0, 1, 3)
    assert tree.joins[:, 2] == pytest.approx([0.1, 0.8])
    assert tree.order[-1] == 2
    assert {frozenset(block) for block in tree.blocks()} == {frozenset({0, 3}), frozenset({1})}
    assert grow_tree(np.full((2, 2), np.nan)).order == (0, 1)


def test_the_default_folder_is_named_for_network_and_data() -> None:
    assert folder_name("resnet18", "a/b/cifar10-train.parquet") == "criteria-resnet18-cifar10-train"
    assert folder_name("mine.nets:make", "digits") == "criteria-mine.nets-make-digits"
