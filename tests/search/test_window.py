"""The default window."""

import pytest

from search.window import default_window


@pytest.mark.parametrize("probes", [1, 240, 100_000])
def test_up_to_four_workers_share_a_window(probes: int) -> None:
    assert len({default_window(workers, probes) for workers in (1, 2, 3, 4)}) == 1


def test_long_searches_keep_many_workers_busy() -> None:
    assert default_window(16, 10_000) == 16 * 16
    assert default_window(1000, 1_000_000) > 32 * 1000


def test_short_searches_keep_their_strategy_informed() -> None:
    assert default_window(16, 240) == 64
    assert default_window(16, 1_000) == 200
