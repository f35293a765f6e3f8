"""Work in a process apart: what it yields arrives, and what it does to itself does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from workers.apart import Apart, Lost
from workers.data import DataError
from workers.limits import memory_limit, time_limit


def count(limit: int) -> Iterator[Any]:
    yield from range(limit)


def misbehave(how: str) -> Iterator[Any]:
    yield os.getpid()
    if how == "hangs":
        time.sleep(1e6)
    elif how == "kills itself":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exits":
        sys.exit(3)
    elif how == "raises ours":
        raise DataError("row 3", "remove it")
    elif how == "raises its own":
        raise type("Strange", (Exception,), {})("told")
    elif how == "eats":
        yield len(bytearray(2**31))


def test_what_is_yielded_arrives_in_order() -> None:
    with closing(Apart(count, 3)) as apart:
        assert [apart.receive(60) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(Lost, match="exited with code 0"):
            apart.receive(60)


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("hangs", TimeoutError, "still at work after 0.5 s"),
        ("kills itself", Lost, "was ended by SIGKILL"),
        ("exits", Lost, "exited with code 3"),
        ("raises ours", DataError, "row 3. Mend: remove it."),
        ("raises its own", RuntimeError, "Strange: told"),
        ("eats", MemoryError, ""),
    ],
)
def test_misbehaviour_is_told(how: str, kind: type[Exception], message: str) -> None:
    with closing(Apart(misbehave, how, memory_mb=256)) as apart:
        process = psutil.Process(apart.receive(60))
        with pytest.raises(kind) as caught:
            apart.receive(0.5 if how == "hangs" else 60)
    assert message in str(caught.value)
    assert not process.is_running()


def test_it_dies_with_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from test_apart import misbehave\n"
        "from workers.apart import Apart; apart = Apart(misbehave, 'hangs'); print(apart.receive(60), flush=True)\n"
        "time.sleep(1e6)"
    )
    here = str(Path(__file__).parent)
    parent = subprocess.Popen([sys.executable, "-c", script, here], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_time_limit_breaks_off_and_is_lifted_again() -> None:
    with pytest.raises(TimeoutError, match=r"still at work after 0\.05 s"), time_limit(0.05):
        time.sleep(10)
    with time_limit(0.05):
        pass
    time.sleep(0.1)


def test_a_memory_limit_is_lifted_again() -> None:
    with pytest.raises(MemoryError), memory_limit(64):
        bytearray(2**28)
    assert len(bytearray(2**28)) == 2**28
