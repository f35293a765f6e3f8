"""The report as files: complete, self-contained, escaped, and never a crash on a poor run."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from report_fixtures import archive, evaluations, finals

from search.report import Detection, Finals, LayerWidth, read_finals, write_report
from search.report.markup import Markup, join, tag
from search.report.palette import DARK, LIGHT
from search.report.wording import browsing
from workers.evaluation import FAILED, Evaluation, Outcome

EVIL = "<script>alert(1)</script>\"'&</style><img src=x onerror=alert(1)>"
PICTURES = ["forecasts.png", "front.png", "hypervolume.png", "probe_vs_training.png", "widths.png"]
FILES = sorted([*PICTURES, "measurements.json", "report.html"])


class Page(HTMLParser):
    """Counts elements, and keeps visible text apart from scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._open: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._open = dict(attrs)
            self.scripts.append((self._open, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def render(table: pa.Table, made: Finals, folder: Path) -> Page:
    path = write_report(table, made, folder / "report")
    assert path == folder / "report" / "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            assert (path.parent / name).read_bytes().startswith(b"\x89PNG")
    assert read_finals(path.parent).to_json() == made.to_json()
    return Page(path.read_text(encoding="utf-8"))


def test_a_whole_run(tmp_path: Path) -> None:
    table = archive(evaluations())
    made = finals(table)
    page = render(table, made, tmp_path)
    assert "1/21 of the parameters at −0.6 points test accuracy" in page.text
    for part in ("What each size buys", "LOST to the same network from scratch", "Kendall’s τ", "CPUAllocator",
                 "models:/niwaki-digits-sixteenth/3", "niwaki export", "mlflow ui"):  # fmt: skip
        assert part in page.text
    assert [c["data-label"] for t, c in page.tags if t == "td" and c.get("data-label") == "Test"]
    figures = [json.loads(text) for attributes, text in page.scripts if attributes.get("type") == "application/json"]
    assert len(figures) == 7
    assert all(f["figure"]["data"] and "layout" in f["figure"] for f in figures)
    colours = set(re.findall(r"#[0-9a-f]{6}", json.dumps(figures)))
    assert colours <= set(LIGHT.values())


def test_the_page_is_self_contained_and_its_policy_fits_its_scripts(tmp_path: Path) -> None:
    table = archive(evaluations(20, 4))
    page = render(table, finals(table), tmp_path)
    fetching = [
        (t, a) for t, a in page.tags if a.get("src") or t == "link" or a.get("href", "#")[:1] not in ("#", None)
    ]
    assert fetching == []
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    programs = [text for attributes, text in page.scripts if not attributes]
    assert len(programs) == 2
    for source in programs:
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert policy is not None
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in (policy or "")


def test_data_never_becomes_markup(tmp_path: Path) -> None:
    rows = [
        e if e.ok else Evaluation(e.request, replace(e.outcome, message=EVIL, reason=EVIL))
        for e in evaluations(40, 6)
    ]  # fmt: skip
    table = archive(rows)
    plain = finals(table, classes=(EVIL, "cat"))
    network = replace(
        plain.front[-1], candidate=EVIL, origin=EVIL, widths=(LayerWidth(EVIL, 8, 4),),
        latency=replace(plain.base.latency, device=EVIL, dtype=EVIL) if plain.base.latency else None,
    )  # fmt: skip
    made = replace(
        plain,
        name=EVIL,
        strategy=EVIL,
        front=(network,),
        chosen=EVIL,
        data=replace(plain.data, source=EVIL),
        controls=tuple(replace(c, name=EVIL, about=EVIL) for c in plain.controls),
        verdicts=tuple(replace(v, name=EVIL, sentence=EVIL) for v in plain.verdicts),
        environment=replace(plain.environment, torch=EVIL, device=EVIL),
        notes=(EVIL,),
        registered=EVIL,
        tracking_uri=EVIL,
    )
    page = render(table, made, tmp_path)
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert not [a for _, a in page.tags if "onerror" in a]
    assert not [t for t, _ in page.tags if t == "img"]
    assert EVIL in page.text
    clean = archive(evaluations(40, 6))
    usual = render(clean, finals(clean), tmp_path)
    assert len(page.scripts) == len(usual.scripts)
    for attributes, source in page.scripts:
        if attributes.get("type") == "application/json":
            assert "<" not in source
            json.loads(source)


def _bare(made: Finals) -> Finals:
    return replace(made, front=(), chosen=None, chosen_test=(), controls=(), verdicts=(), budget={})


@pytest.mark.parametrize("case", ["empty", "no trainings", "all failed", "one point", "not chosen", "unmeasured"])
def test_poor_runs_are_reported_all_the_same(case: str, tmp_path: Path) -> None:
    rows = evaluations(12, 3)
    made = finals(archive(rows))
    if case == "empty":
        rows, made = [], _bare(made)
    elif case == "no trainings":
        rows = evaluations(12, 0)
        made = _bare(made)
    elif case == "all failed":
        rows = [Evaluation(e.request, Outcome(e.request.number, FAILED, "oom", "no memory")) for e in rows]
        made = _bare(made)
    elif case == "one point":
        rows = [next(e for e in rows if e.ok and e.request.stage == "train")]
        made = finals(archive(rows))
        assert len(made.front) == 1
    elif case == "not chosen":
        made = replace(made, chosen=None)
    else:
        missing = replace(
            made.front[0], validation_accuracy=math.nan, test_accuracy=math.nan, latency=None, sameness={}, widths=()
        )
        made = replace(
            made,
            front=(missing,),
            chosen=missing.candidate,
            chosen_test=(math.nan,),
            base=replace(made.base, latency=None, test_accuracy=math.nan),
            controls=tuple(replace(c, test=(math.nan,)) for c in made.controls),
            data=replace(made.data, test=0, classes=()),
        )
    page = render(archive(rows), made, tmp_path)
    assert ("No network was chosen" in page.text) is (made.chosen is None)
    assert "nan" not in re.sub(r"not a number|nan\b(?= at)", "", page.text).lower().split()


def test_a_report_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = archive(evaluations(12, 3))
    made = finals(table)
    page = write_report(table, made, tmp_path / "report")
    before = page.read_bytes()
    monkeypatch.setattr("workers.atomic.os.replace", _refuse)
    with pytest.raises(OSError, match="disk"):
        write_report(table, replace(made, name="other"), tmp_path / "report")
    assert page.read_bytes() == before
    assert sorted(p.name for p in page.parent.iterdir()) == FILES


def _refuse(*_: object) -> None:
    raise OSError("disk full")


def test_passwords_of_addresses_stay_out_of_the_page(tmp_path: Path) -> None:
    table = archive(evaluations(12, 3))
    page = render(table, replace(finals(table), tracking_uri="https://me:secret@mlflow.example/x"), tmp_path)
    assert "https://mlflow.example/x" in page.text
    assert "secret" not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_missing_measurements_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"measurements\.json does not exist"):
        read_finals(tmp_path)
    (tmp_path / "measurements.json").write_text("{")
    with pytest.raises(ValueError, match=r"measurements\.json: "):
        read_finals(tmp_path)


def test_detection_of_other_images_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    table = archive(evaluations())
    plain = finals(table)
    found = {"uniform noise": Detection(0.987, 0.654)}
    front = tuple(replace(m, detection=found if m.candidate == plain.chosen else {}) for m in plain.front)
    for given, shown in ((plain, False), (replace(plain, front=front), True)):
        write_report(table, given, tmp_path)
        assert read_finals(tmp_path) == given
        text = Page((tmp_path / "report.html").read_text()).text
        assert ("Does it know what it has not learnt?" in text) == shown
        assert ("uniform noise 98.7% 65.4%" in text) == shown


def test_markup_escapes_text_and_keeps_markup() -> None:
    assert tag("p", "<b>", tag("b", "&"), None, title='"') == '<p title="&quot;">&lt;b&gt;<b>&amp;</b></p>'
    assert join(Markup("<i></i>"), "<") == "<i></i>&lt;"


def test_every_colour_has_its_dark_one() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("sqlite:///my runs/mlflow.db", "mlflow ui --backend-store-uri 'sqlite:///my runs/mlflow.db'"),
    ],
)
def test_a_server_shows_its_runs_itself(store: str, expected: str) -> None:
    assert browsing(store) == expected
