"""Serves the live page of one run on this machine's loopback address, to this machine's browsers alone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from search.archive import ArchiveError
from search.loading import ConfigError
from search.storage import StorageError
from search.watch.page import POLICY, build_page, problem_page
from search.watch.snapshot import Snapshot
from search.watch.words import to_json

HOST, PORT = "127.0.0.1", 8484
REFRESH_SECONDS = 3
LOOKS_APART = 4.0
"""A look that took long is shown for so many times as long before the next one."""

_NAMES = ("127.0.0.1", "localhost")


def make_server(look: Callable[[], Snapshot], port: int = PORT) -> ThreadingHTTPServer:
    """A server bound to the loopback address; ``port`` 0 takes a free one. It answers ``/`` and ``/status.json``.

    Raises:
        ConfigError: the port is taken.
    """
    latest = _Latest(look)

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "niwaki", ""

        def do_GET(self) -> None:
            # A page elsewhere may point a name of its own at this address: only ours is answered.
            name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if name not in _NAMES:
                self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this page is at 127.0.0.1\n")
            elif self.path == "/":
                status, page = latest.page()
                self._answer(status, "text/html", page)
            elif self.path == "/status.json":
                status, content = latest.json()
                self._answer(status, "application/json", content)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "nothing here\n")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: every refresh would be a line."""

        def _answer(self, status: HTTPStatus, kind: str, content: str) -> None:
            body = content.encode("utf-8", "replace")
            self.send_response(status)
            for key, value in {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Length": str(len(body)),
                "Content-Security-Policy": f"{POLICY};frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            }.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port: {HOST}:{port} cannot be used ({error}); choose another one") from None


class _Latest:
    """The last look, shared by all readers; one look at a time, and none where the last is fresh."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look, self._guard = look, threading.Lock()
        self._snapshot: Snapshot | None = None
        self._until = 0.0

    def page(self) -> tuple[HTTPStatus, str]:
        try:
            return HTTPStatus.OK, build_page(self._take(), REFRESH_SECONDS)
        except (ArchiveError, ConfigError, StorageError, OSError) as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, problem_page(str(error), REFRESH_SECONDS)

    def json(self) -> tuple[HTTPStatus, str]:
        try:
            return HTTPStatus.OK, json.dumps(to_json(self._take()), allow_nan=False)
        except (ArchiveError, ConfigError, StorageError, OSError) as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, json.dumps({"error": str(error)})

    def _take(self) -> Snapshot:
        with self._guard:
            started = time.monotonic()
            if self._snapshot is None or started > self._until:
                self._snapshot = self._look()
                ended = time.monotonic()
                self._until = ended + max(1.0, LOOKS_APART * (ended - started))
            return self._snapshot
