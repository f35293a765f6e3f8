"""Starting Ray on this machine: a slow start is tried again, a wrong one is not."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from workers.connection import STARTS, _start_ray


class Starts:
    """Stands for ``ray.init``: fails so many times with an error, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.calls = failures, error, 0

    def __call__(self, **options: Any) -> None:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error


@pytest.mark.parametrize("failures", range(STARTS + 1))
def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    starts = Starts(failures, Exception("The current node timed out during startup."))
    monkeypatch.setattr(ray, "init", starts)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    if failures < STARTS:
        _start_ray(num_cpus=2)
    else:
        with pytest.raises(RuntimeError, match="timed out during startup"):
            _start_ray(num_cpus=2)
    assert starts.calls == min(failures + 1, STARTS)


def test_what_cannot_work_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(1, ValueError("no such option"))
    monkeypatch.setattr(ray, "init", starts)
    with pytest.raises(ValueError, match="no such option"):
        _start_ray(num_cpus=2)
    assert starts.calls == 1
