"""The live page and the terminal: escaped, self-contained, legible, and served to this machine alone."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from test_report_page import Page
from watched_runs import EVIL, write_run

from search.archive import ArchiveError
from search.loading import ConfigError
from search.standing import FAILED, FINISHED, PREPARING, SEARCHING
from search.watch.page import build_page
from search.watch.server import make_server
from search.watch.snapshot import Snapshot, look
from search.watch.terminal import screen, watch

PHASES = [PREPARING, SEARCHING, FINISHED, FAILED]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module", params=PHASES)
def snapshot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return look(made(tmp_path_factory.mktemp("watched"), request.param))


def made(folder: Path, phase: str) -> Path:
    if phase == PREPARING:
        return write_run(folder, phase, [], course=None)
    return write_run(folder, phase, error=f"ClusterError: {EVIL}", warnings=(EVIL,))


def test_hostile_text_stays_text(snapshot: Snapshot) -> None:
    page = Page(build_page(snapshot, refresh=3))
    assert page.scripts == []
    assert not {"img", "iframe", "object", "form", "a"} & {name for name, _ in page.tags}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    if snapshot.phase == FINISHED:  # a class's name
        assert f"Images of 3 classes: 0, {EVIL} and 2." in page.text
    if snapshot.phase in (SEARCHING, FAILED):  # messages of failures
        assert page.text.count("<script>alert(1)</script>") >= 4


def test_the_policy_allows_no_script_and_no_request(snapshot: Snapshot) -> None:
    page = Page(build_page(snapshot, refresh=3))
    [policy] = [a["content"] for n, a in page.tags if n == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert not [a for _, a in page.tags if "src" in a or "href" in a]


def test_the_page_reads_itself_again_only_while_the_run_goes_on(snapshot: Snapshot) -> None:
    def refreshes(text: str) -> int:
        return sum(a.get("http-equiv") == "refresh" for _, a in Page(text).tags)

    assert refreshes(build_page(snapshot, refresh=3)) == (not snapshot.ended)
    assert refreshes(build_page(snapshot)) == 0


def test_terminal_and_page_say_the_same(snapshot: Snapshot) -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(screen(snapshot))
    page = Page(build_page(snapshot)).text
    told = " ".join(out.getvalue().split())
    for member in snapshot.front[-5:]:
        assert member.candidate in page
        assert member.candidate in told
    for failure in snapshot.failures:
        assert failure.meaning in page
        assert failure.meaning in told


def test_a_terminal_is_not_steered_by_what_it_shows(tmp_path: Path) -> None:
    error = "bad \x1b[2J\x1b]0;title\x07 [bold]news[/bold]"
    out = io.StringIO()
    Console(file=out, width=120).print(screen(look(write_run(tmp_path, FAILED, error=error))))
    assert "\x1b" not in out.getvalue()
    assert "[bold]news[/bold]" in out.getvalue()


def test_one_screen_is_one_screen(tmp_path: Path) -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(screen(look(write_run(tmp_path, SEARCHING, hostile=False))))
    assert len(out.getvalue().splitlines()) <= 48


def test_watching_ends_when_the_run_ends(tmp_path: Path) -> None:
    running, ended = look(write_run(tmp_path / "a", SEARCHING)), look(write_run(tmp_path / "b", FINISHED))
    looks = iter([running, running, ended])
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    assert watch(lambda: next(looks), console) is ended
    assert "Finished" in out.getvalue()


@contextmanager
def serving(path: Path) -> Iterator[str]:
    with make_server(lambda: look(path), port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def fetch(url: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, headers={} if host is None else {"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_the_server_answers_this_machine_alone(tmp_path: Path) -> None:
    with serving(write_run(tmp_path, SEARCHING)) as url:
        status, page, headers = fetch(url + "/")
        assert status == 200
        assert "Searching" in page
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert json.loads(fetch(url + "/status.json")[1])["phase"] == "searching"
        assert fetch(url + "/../../etc/passwd")[0] == 404
        assert fetch(url + "/", host="attacker.example:8484")[0] == 403  # a name that was pointed at this machine
        assert fetch(url + "/", host="localhost:8484")[0] == 200


def test_a_run_that_cannot_be_read_is_said_so_and_escaped() -> None:
    def fail() -> Snapshot:
        raise ArchiveError(f"{EVIL}: damaged")

    with make_server(fail, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        status, page, _ = fetch(f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()
    assert status == 503
    assert Page(page).scripts == []
    assert EVIL.split('"')[0] in Page(page).text


def test_a_port_that_is_taken_is_refused() -> None:
    with make_server(lambda: None, port=0) as first, pytest.raises(ConfigError, match="--port"):  # type: ignore
        make_server(lambda: None, port=first.server_port)  # type: ignore[arg-type,return-value]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page was not opened in a browser")
@pytest.mark.parametrize("phase", [SEARCHING, FINISHED, FAILED])
def test_a_browser_shows_the_page_and_runs_nothing_in_it(phase: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(build_page(look(made(tmp_path / "run", phase))), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [str(CHROMIUM), *flags, "--virtual-time-budget=1000", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    page = Page(shown)
    assert page.scripts == []
    assert {"svg", "table", "footer"} <= {name for name, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text
    assert shown.rstrip().endswith("</html>")
