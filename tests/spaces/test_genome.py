"""Genomes as values: canonical text, identity, and reading back."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.genome import Genome

REALS = st.floats(-1.0, 1.0) | st.sampled_from([0.0, -0.0, 1.0, 1e-5, -1e-5, 0.33333])
GENOMES = st.builds(
    Genome,
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    REALS,
    st.lists(REALS, max_size=5).map(tuple),
    st.lists(st.lists(REALS, min_size=2, max_size=2).map(tuple), max_size=3).map(tuple),
)


@given(GENOMES)
def test_text_reads_back_equal(genome: Genome) -> None:
    again = Genome.from_text(genome.text)
    assert again == genome
    assert again.text == genome.text
    assert again.id == genome.id


@given(GENOMES, GENOMES)
def test_equal_means_equal_text_id_and_hash(one: Genome, other: Genome) -> None:
    assert (one == other) == (one.text == other.text) == (one.id == other.id)
    if one == other:
        assert hash(one) == hash(other)


@given(GENOMES)
def test_numbers_of_any_kind_make_the_same_genome(genome: Genome) -> None:
    twin = Genome(
        tuple(np.array(genome.growth, dtype=np.int64)),
        np.float64(genome.width),
        tuple(np.array(genome.keep)),
        tuple(map(tuple, np.array(genome.blend))),
    )
    assert twin == genome
    assert twin.text == genome.text


def test_zero_has_one_text() -> None:
    assert Genome((), -0.0, (-1e-9,), ((0.0, -0.0),)).text == Genome((), 0.0, (0.0,), ((0.0, 0.0),)).text


def test_the_text_is_json_with_sorted_keys() -> None:
    genome = Genome((1, 0), 0.5, (0.123456, 1), ((0.25, 0.75),))
    assert genome.text == '{"blend":[[0.25,0.75]],"growth":[1,0],"keep":[0.1235,1.0],"width":0.5}'
    assert genome.id == "8d31c3de20ad"
    assert len(genome.id) == 12


def test_the_id_is_the_same_in_other_processes() -> None:
    program = "from spaces.genome import Genome; print(Genome((2,), 0.7, (0.1, 0.2, 1/3), ((0.5, 0.5),)).id)"
    expected = Genome((2,), 0.7, (0.1, 0.2, 1 / 3), ((0.5, 0.5),)).id
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert done.stdout.strip() == expected, done.stderr


GOOD = {"growth": [1], "width": 0.5, "keep": [0.5], "blend": [[1.0]]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("growth", None),
        ("growth", ["x"]),
        ("growth", [1.5]),
        ("growth", [-1]),
        ("growth", "12"),
        ("width", "wide"),
        ("width", None),
        ("width", float("nan")),
        ("width", True),
        ("keep", 0.5),
        ("keep", [[0.5]]),
        ("keep", [float("inf")]),
        ("blend", [0.5]),
        ("blend", [["1"]]),
        ("blend", {"a": 1}),
    ],
)
def test_bad_fields_are_refused_by_name(field: str, value: object) -> None:
    assert Genome.from_text(json.dumps(GOOD)) == Genome((1,), 0.5, (0.5,), ((1.0,),))
    with pytest.raises(ValueError, match=f"not a genome: {field} must be"):
        Genome.from_text(json.dumps({**GOOD, field: value}))


@pytest.mark.parametrize("field", GOOD)
def test_missing_fields_are_named(field: str) -> None:
    with pytest.raises(ValueError, match=f"not a genome: {field} must be"):
        Genome.from_text(json.dumps({k: v for k, v in GOOD.items() if k != field}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"genome"'])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a genome"):
        Genome.from_text(text)
