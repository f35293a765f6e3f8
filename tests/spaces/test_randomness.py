"""Seeds are functions of a seed and a purpose, the same in every process and apart for all purposes."""

from __future__ import annotations

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from spaces.randomness import numpy_generator, seed_for, torch_generator

SEED = st.integers(0, 2**63 - 1)
PURPOSE = st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=6) | st.integers(0, 10**6))

PROGRAM = """
from spaces.randomness import numpy_generator, seed_for, torch_generator
import torch
drawn = numpy_generator(3, "x").random(), torch.rand(1, generator=torch_generator(3, "x"))
print(seed_for(3, "train", "abc", 7), *drawn)
"""


def test_equal_in_other_processes() -> None:
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    drawn = numpy_generator(3, "x").random(), torch.rand(1, generator=torch_generator(3, "x"))
    assert done.stdout.strip() == f"{seed_for(3, 'train', 'abc', 7)} {drawn[0]} {drawn[1]}"


def test_the_numbers_of_recorded_runs_stay() -> None:
    assert seed_for(0) == 846087379180422073
    assert seed_for(0, "train", "abc", 7) == 8207647708575054578


@given(SEED, PURPOSE, SEED, PURPOSE)
def test_one_seed_a_purpose(seed: int, purpose: list[str | int], other: int, another: list[str | int]) -> None:
    same = seed == other and [str(p) for p in purpose] == [str(p) for p in another]
    first, second = seed_for(seed, *purpose), seed_for(other, *another)
    assert 0 <= first < 2**63
    # No part and one empty part are written alike.
    assert (first == second) == (same or (seed == other and purpose in ([], [""]) and another in ([], [""])))


def test_parts_do_not_run_together() -> None:
    seeds = [seed_for(0, *p) for p in [("ab", "c"), ("a", "bc"), ("abc",), ("a", "b", "c"), ("c", "ab"), (1, 2), (12,)]]
    assert len(set(seeds)) == len(seeds)


def test_generators_draw_what_their_seed_says() -> None:
    assert torch_generator(5, "a", 1).initial_seed() == seed_for(5, "a", 1)
    state = torch.get_rng_state()
    draws = [torch.rand(4, generator=torch_generator(5, "a", i)).tolist() for i in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(state, torch.get_rng_state())
    assert numpy_generator(5, "a").random() == numpy_generator(5, "a").random() != numpy_generator(5, "b").random()
