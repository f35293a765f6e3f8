"""Somebody else's code in a process of its own: where it hangs, dies or eats the memory, it does so alone.

A fresh interpreter rather than a fork, because threads of torch and Arrow do not survive one, and rather than
:mod:`multiprocessing`, which would run the user's script a second time.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection, Pipe
from typing import Any

import psutil

from workers.limits import memory_limit

START_SECONDS = 300.0
"""A fresh interpreter imports torch within this time, on a busy machine and a slow disk, too."""

_READY = "ready"
_OURS = ("builtins", "search", "spaces", "workers")


class Lost(RuntimeError):
    """The process ended before its work; the message says how."""


class Apart:
    """A process that works through ``work(*inputs)``, a generator function, and hands over what it yields.

    Its standard output is standard error here: results belong to the caller. It dies with this process.

    Args:
        memory_mb: what it may take beyond an idle interpreter; by default half of what the machine has free.
    """

    def __init__(self, work: Callable[..., Iterator[Any]], *inputs: Any, memory_mb: int | None = None) -> None:
        self._reader, writer = Pipe(duplex=False)
        paths = dict.fromkeys([os.getcwd(), *(path for path in sys.path if path)])
        command = f"from workers.apart import serve; serve({writer.fileno()})"
        with closing(writer):
            self._process = subprocess.Popen(
                [sys.executable, "-c", command],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=[writer.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        assert self._process.stdin is not None
        half = psutil.virtual_memory().available // 2**21
        try:
            pickle.dump((work, inputs, memory_mb or half), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died already, which the first receive says better
        self._started = False

    def receive(self, seconds: float) -> Any:
        """The next thing that the work yields; waits so many seconds at most, not counting the interpreter's start.

        Raises:
            TimeoutError: nothing came in time.
            Lost: the process died, or there is no more.
            Exception: what the work raised; as a RuntimeError where its class is not one of ours or of Python's.
        """
        if not self._started:
            self._started = self._get(START_SECONDS) == _READY
        return self._get(seconds)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._reader.close()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _get(self, seconds: float) -> Any:
        if not self._reader.poll(seconds):
            raise TimeoutError(f"still at work after {seconds:g} s")
        try:
            value, error = self._reader.recv()
        except EOFError:
            raise Lost(f"its process {_how_it_ended(self._process.wait())}") from None
        if error is not None:
            raise error
        return value


def serve(handle: int) -> None:
    """What the process does: read the work from standard input, send what it yields to ``handle``."""
    writer = Connection(handle, readable=False)
    work, inputs, memory_mb = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    writer.send((_READY, None))
    try:
        with memory_limit(memory_mb):
            for item in work(*inputs):
                writer.send((item, None))
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    except Exception as error:
        writer.send((None, _portable(error)))
    os._exit(0)


def _die_with_parent() -> None:
    os.read(0, 1)  # nothing more is ever written: it returns when the other end is gone
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """An exception whose class can be had without importing what raised it."""
    if type(error).__module__.partition(".")[0] in _OURS:
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (is the memory exhausted?)" if name == "SIGKILL" else "")
