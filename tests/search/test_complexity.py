"""`niwaki complexity`: what it writes and says of grey, colour, two-class, many-class and refused data."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from search import cli
from search.complexity.labels import place_labels
from search.complexity.layout import class_map, cluster_order
from search.complexity.page import build_page
from search.complexity.plots import draw_plots
from search.complexity.report import ComplexityReport, Measured
from search.complexity.sentences import reduction_line, title, width_line
from search.complexity.width import WidthAdvice, advise_width
from search.complexity.write import folder_name
from workers.complexity.csg import CsgInterval, Interval
from workers.complexity.embeddings import DEFAULT, EMBEDDINGS
from workers.complexity.expected import ExpectedError
from workers.complexity.image import Mean
from workers.complexity.reduction import Reduction, Rung
from workers.complexity.scaling import Curve

FILES = {"complexity.html", "complexity.json", "spectrum.png", "confusion.png", "class_map.png", "reduction.png"}
HOSTILE = "<script>alert(1)</script>\x1b[31m & \"$x_1$'"


def run(*arguments: str) -> int:
    return cli._guarded(lambda: cli.app(["complexity", *arguments], standalone_mode=False))


def write_images(folder: Path, names: list[str], count: int, channels: int, side: int = 8) -> Path:
    """Patterns, one a class, in so much noise that some are mistaken."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        pattern = rng.integers(0, 256, (side, side, channels))
        for number in range(count):
            pixels = np.clip(pattern + rng.normal(0, 150, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels.squeeze()).save(folder / name / f"{number}.png")
    return folder


def make_report(similarity: np.ndarray, names: list[str], effective: float = 100.0) -> ComplexityReport:
    """A report whose figures are given, for what draws and tells."""
    classes = len(names)
    laplacian = np.diag(similarity.sum(1)) - similarity
    some = Interval(0.4, 0.3, 0.5)
    csg = CsgInterval(
        csg=some,
        auls=some,
        cmsauls=some,
        relative=some,
        spectrum=torch.from_numpy(np.linalg.eigvalsh(laplacian)),
        similarity=torch.from_numpy(similarity),
        effective_samples=effective,
        classes=classes,
        repeats=10,
    )
    measured = Measured("set", tuple(names), (1, 8, 8), 200, 100, 50, "tsne", 2, True, 250, 3, 10, 0)
    mean = Mean(0.2, 0.1, 0.3)
    return ComplexityReport(
        measured=measured,
        csg=csg,
        class_map=class_map(similarity),
        pictures={"jpeg": mean, "blobs": mean, "frequency": mean},
        reduction=Reduction((Rung(100, some), Rung(50, Interval(0.6, 0.45, 0.75))), 0.02, 50),
        width=WidthAdvice(0.95, 1.0, 0.5, 0.25, 0.97, 0.95, 1.0),
        expected=ExpectedError(0.25, 0.1, 0.4),
    )


def random_similarity(classes: int) -> np.ndarray:
    rng = np.random.default_rng(classes)
    values = rng.uniform(0, 1, (classes, classes)) ** 4
    values = (values + values.T) / 2
    np.fill_diagonal(values, 1.0)
    return values


def test_digits_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    assert run("digits", "--set", "data.limit=300", "--embedding", "pixels", "--out", str(out)) == 0
    told, err = capsys.readouterr()
    assert err == ""
    for text in ("Classes overlap by", "in 10 classes", "effective samples", "JPEG bytes", "hardest of 45", "width: "):
        assert text in told
    assert str(out / "complexity.html") in told.replace("\n", "")
    assert {path.name for path in out.iterdir()} == FILES
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in FILES if name.endswith(".png"))


def test_for_programs_and_twice_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for name in ("a", "b"):
        assert (
            run("digits", "--set", "data.limit=200", "--embedding", "tsne", "--json", "--out", str(tmp_path / name))
            == 0
        )
        out, err = capsys.readouterr()
        assert err == ""
        answers.append(json.loads(out))
        assert json.loads((tmp_path / name / "complexity.json").read_text()).items() <= answers[-1].items()
    assert answers[0].pop("report") != answers[1].pop("report")
    assert answers[0] == answers[1]
    answer = answers[0]
    assert answer["data"]["images"] == 150  # validation takes its share of the limit
    assert answer["settings"]["dimensions"] == 2
    similarity = np.array(answer["overlap"]["similarity"])
    assert similarity.shape == (10, 10)
    assert np.allclose(similarity, similarity.T)
    assert 0 <= answer["overlap"]["relative"]["mean"] <= 1
    assert 0 < answer["width"]["low"] <= answer["width"]["retained"]


def test_two_classes_in_colour_with_hostile_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["<img src=x onerror=alert(1)>", "[bold]birds[-bold]"]
    folder = write_images(tmp_path / "two", names, 30, channels=3)
    assert run(str(folder), "--embedding", "pca", "--out", str(tmp_path / "out")) == 0
    told = capsys.readouterr().out
    assert "in 2 classes" in told
    assert "3×8×8" in told
    page = (tmp_path / "out" / "complexity.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "[bold]birds[-bold]" in page


def test_a_hundred_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_images(tmp_path / "hundred", [f"class {i:02d}" for i in range(100)], 6, channels=1)
    assert run(str(folder), "--out", str(tmp_path / "out"), "--embedding", "pixels") == 0
    told = capsys.readouterr().out
    assert "hardest of 4,950 pairs" in told
    assert len(re.findall(r"class \d\d +class \d\d", told)) == 10
    assert "warning: class overlap rests on as few as" in told
    assert "too few of the" in told


def test_fewer_images_are_drawn_by_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("digits", "--images", "100", "--embedding", "pixels", "--json", "--out", str(tmp_path / "out")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["data"]["training"] == 1079
    assert 95 <= answer["data"]["images"] <= 105


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ONE"], "only one class"),
        (["nowhere.parquet"], "no such file"),
        (["digits", "--embedding", "tsen"], "no embedding 'tsen'; known: "),
        (["digits", "--images", "20000", "--embedding", "tsne"], "--images: tsne takes at most 10,000"),
        (["digits", "--images", "4"], "--images"),
        (["digits", "--keep", "2"], "--keep"),
        (["digits", "--set", "budget.params=20000"], "set a share"),
        (["digits", "--set", "data.size=0"], "data.size"),
    ],
)
def test_what_is_refused(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = write_images(tmp_path / "one", ["only"], 12, channels=1)
    assert run(*[str(one) if a == "ONE" else a for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert told in " ".join(re.sub("[│╭╮╰╯─]", " ", out + err).split())
    assert {path.name for path in tmp_path.iterdir()} == {"one"}


def test_help_names_every_embedding_and_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    told = re.sub("[│]", " ", capsys.readouterr().out)
    assert all(name in told for name in EMBEDDINGS)
    assert f"default: {DEFAULT}" in told


@pytest.mark.parametrize("classes", [2, 3, 10, 31, 100])
def test_every_number_of_classes_can_be_drawn(classes: int) -> None:
    for similarity in (random_similarity(classes), np.eye(classes), np.ones((classes, classes))):
        plots = draw_plots(make_report(similarity, [f"{HOSTILE} {i}" for i in range(classes)]))
        assert set(plots) == {name for name in FILES if name.endswith(".png")}
        assert all(Image.open(io.BytesIO(png)).size[0] < 1600 for png in plots.values())


def test_the_page_runs_no_script_and_fetches_nothing() -> None:
    report = make_report(random_similarity(3), [HOSTILE, "b", "c"], effective=12.0)
    page = build_page(report, draw_plots(report))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)="(?!data:image/png)""", page)
    assert "12.0 effective samples" in page
    assert "60% to 90%" in page


def test_hardest_pairs_come_first() -> None:
    similarity = np.eye(4)
    for (a, b), value in {(0, 3): 0.6, (1, 2): 0.9, (0, 1): 0.6}.items():
        similarity[a, b] = similarity[b, a] = value
    report = make_report(similarity, list("abcd"))
    pairs = report.hardest_pairs()
    assert [p.first + p.second for p in pairs[:3]] == ["bc", "ab", "ad"]
    assert len(pairs) == 6
    assert title(report) == "Classes overlap by 40.0%, most of all b and c"
    assert title(make_report(np.eye(4), list("abcd"))) == "All classes are apart"


def test_the_map_puts_overlapping_classes_together() -> None:
    similarity = np.full((6, 6), 0.05)
    similarity[:3, :3] = similarity[3:, 3:] = 0.8
    np.fill_diagonal(similarity, 1.0)
    points = class_map(similarity)
    assert len(set(np.sign(points[:3, 0]))) == len(set(np.sign(points[3:, 0]))) == 1
    assert np.sign(points[0, 0]) != np.sign(points[5, 0])
    shuffled = np.array([3, 0, 4, 1, 5, 2])
    order = shuffled[cluster_order(similarity[np.ix_(shuffled, shuffled)])]
    assert {frozenset(order[:3]), frozenset(order[3:])} == {frozenset({0, 1, 2}), frozenset({3, 4, 5})}


def test_the_map_of_two_classes_is_a_line() -> None:
    points = class_map(np.array([[1, 0.3], [0.3, 1]]))
    assert points[:, 1].tolist() == [0, 0]
    assert sorted(points[:, 0].tolist()) == pytest.approx([-1, 1])


def test_one_class_apart_does_not_push_the_others_together() -> None:
    similarity = np.zeros((5, 5))
    similarity[:2, :2] = similarity[2:4, 2:4] = 0.5
    points = class_map(similarity)
    assert np.linalg.norm(points[0] - points[2]) > 0.5


def test_labels_meet_neither_each_other_nor_points() -> None:
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.uniform(0, 3, (40, 2))]
    spots = place_labels(points, [(0.4, 0.16)] * 40, 0.08, others=[(1.0, 1.0)])
    placed = [s for s in spots if s is not None]
    assert 10 < len(placed) < 40
    for i, (x, y) in enumerate(placed):
        assert all(abs(x - u) >= 0.4 - 1e-9 or abs(y - v) >= 0.16 - 1e-9 for u, v in placed[:i])
        assert all(abs(x - u) > 0.2 or abs(y - v) > 0.08 for u, v in [*points, (1.0, 1.0)])


def test_advice_on_width_follows_the_curve() -> None:
    curve = Curve(0.01, (0.02,), 1.5, 0.005, ((0.0,) * 3,) * 3, 20.0, 1 / 16)
    pictures = {"jpeg": Mean(0.5, 0.4, 0.6), "blobs": Mean(0.9, 0.8, 1.0)}
    free = advise_width(curve, ("jpeg",), pictures, 0.9, 1.0)
    assert free.factor == curve.factor_for(0.9, [0.5])
    assert free.params == pytest.approx(free.factor**2)
    assert free.low >= 0.9
    tight = advise_width(curve, ("jpeg",), pictures, 0.9, 0.01)
    assert tight.factor is None
    assert tight.retained == pytest.approx(curve.retained(0.1, [0.5]))
    report = make_report(random_similarity(3), list("abc"))
    assert width_line(report).startswith("width: 0.50 of the full width, 1/4 of the parameters, should keep 95%")
    assert reduction_line(report).startswith("smaller set: 50 of the 100 images show the same overlap")


@pytest.mark.parametrize(
    ("source", "name"),
    [("digits", "digits"), ("a/b/cifar10-train.parquet", "cifar10-train"), ("a/b c/", "b-c"), ("/", "data")],
)
def test_the_default_folder_is_named_for_the_data(source: str, name: str) -> None:
    assert folder_name(source) == f"complexity-{name}"
