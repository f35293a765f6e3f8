"""What a search knows before its first probe: images enough for a probe, and widths to start from."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_space import tiny_space

from search.loading import ConfigError, parse_overrides
from search.plan import PlanSettings, SearchPlan
from search.preflight import check
from search.reduced import LEAST, advised_images
from search.start import starting_widths
from search.surrogate.guided import Guidance
from workers.data import Images

NAMES = ("a", "b", "c")


def images(count: int, seed: int, apart: float) -> Images:
    """uint8 ``[count, 1, 8, 8]`` of three classes whose patterns differ by ``apart``."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    patterns = np.random.default_rng(0).normal(0, 1, (3, 1, 8, 8))
    pixels = 128 + 30 * rng.normal(0, 1, (count, 1, 8, 8)) + apart * patterns[labels]
    return Images(np.clip(pixels, 0, 255).astype(np.uint8), labels.astype(np.int64), NAMES)


@pytest.mark.parametrize("count", [2, 40, LEAST])
def test_of_few_images_a_probe_takes_all(count: int) -> None:
    assert advised_images(images(count, 1, 20.0), 0) == count


def test_easy_classes_need_fewest_images_and_the_advice_is_a_function_of_the_seed() -> None:
    easy = images(1200, 2, 60.0)
    assert LEAST <= advised_images(easy, 0) < 700
    assert advised_images(easy, 3) == advised_images(easy, 3)


def test_starting_widths_narrow_the_network_by_steps() -> None:
    widths = starting_widths(images(300, 3, 30.0))
    assert widths
    assert all(0 < w < 1 for w in widths)
    assert sorted(set(widths), reverse=True) == list(widths)


def test_the_search_begins_with_them() -> None:
    space = tiny_space()
    settings = PlanSettings("evolution", 12, 2, 1, 6, "params", False, 1, 1, None)
    plan = SearchPlan(space, settings, 1.0, 0, Guidance(300, (0.5, 0.3)))
    asked = [plan.ask(i).genome for i in range(6)]  # type: ignore[union-attr]
    for width in (0.5, 0.3):
        assert space.repair(space.uniform(width)) in asked


def test_an_unknown_proxy_is_refused_with_the_nearest() -> None:
    content = {"name": "x", "data": {"source": "digits"}, "probe": {"proxies": ["sinflow"]}}
    with pytest.raises(ConfigError, match=r"probe\.proxies: there is no 'sinflow'; did you mean 'synflow'"):
        check(parse_overrides(content, []))
