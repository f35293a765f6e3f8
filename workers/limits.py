"""Limits on what a block of code may take of this process: seconds, and memory."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil


@contextmanager
def memory_limit(megabytes: int | None) -> Iterator[None]:
    """Let the block allocate at most so much more private memory: beyond it allocations fail instead of the machine."""
    if megabytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    now = psutil.Process().memory_info().data
    resource.setrlimit(resource.RLIMIT_DATA, (now + megabytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Break the block off after so many seconds, as soon as Python is at work in it; main thread only.

    Raises:
        TimeoutError: the block took too long.
    """

    def stop(*_: Any) -> None:
        raise TimeoutError(f"still at work after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
