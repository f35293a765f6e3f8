"""SIGTERM as schedulers mean it (preemption, a machine that goes away): finish the step, save, and go."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Preempted(SystemExit):
    """A training was asked to stop and has written its checkpoint.

    A ``SystemExit``, because the process was asked to end: no handler of a candidate's failures catches it, a Ray
    worker ends with it (its evaluation is then lost, and started elsewhere from the checkpoint), and a plain script
    exits as SIGTERM lets it.
    """

    def __init__(self, step: int) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.step = step

    def __str__(self) -> str:
        return f"asked to end by SIGTERM after step {self.step}"


@contextmanager
def terminations() -> Iterator[Callable[[], bool]]:
    """Hold SIGTERM back while the block lasts; the function tells whether it has come.

    One that the block did not act upon (by raising :class:`Preempted`) is delivered after it. Outside the main thread,
    where Python delivers no signals, nothing is held back.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield lambda: False
        return
    came = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGTERM, note)
    acted = False
    try:
        yield lambda: came
    except Preempted:
        acted = True
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if came and not acted:
            os.kill(os.getpid(), signal.SIGTERM)
