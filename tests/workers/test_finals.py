"""The last measurements of a candidate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_bench import TRAINING, make_images, small_bench

import workers.finals
from spaces.randomness import numpy_generator
from workers.data import Images
from workers.evaluate import Bench, evaluate, weights_path
from workers.evaluation import OK, TRAIN, Request
from workers.export import ExportError, count_program, run_program
from workers.finals import Final, FinalResult, measure_final, pixels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Path]:
    bench = small_bench(tmp_path_factory.mktemp("finals"))
    genome = bench.foundation.space.sample(numpy_generator(0, "final"))
    request = Request(0, TRAIN, genome, "test")
    assert evaluate(request, bench).status == OK
    return bench, weights_path(bench.folder, request)


def measured(trained: tuple[Bench, Path], item: Final) -> tuple[FinalResult, Images]:
    test = make_images(30, 5)
    return measure_final(item, trained[0].foundation, make_images(70, 4), test, ()), test


def test_what_is_measured_is_the_exported_program(trained: tuple[Bench, Path]) -> None:
    result, test = measured(trained, Final(trained[1]))
    assert result.program is not None
    assert count_program(result.program) == (result.params, result.macs)
    hits = run_program(result.program, pixels(test).numpy()).argmax(1) == test.labels
    assert result.test_accuracy == np.mean(hits)
    assert result.sameness is not None
    assert result.sameness.passes(1e-4)
    assert all(map(result.sameness.compared, ("masked", "reloaded", "onnx", "program")))


def test_a_mixture_shows_what_its_likelihood_is_worth(tmp_path: Path, trained: tuple[Bench, Path]) -> None:
    assert measured(trained, Final(trained[1], full=False))[0].detection == {}
    bench = small_bench(tmp_path, replace(TRAINING, loss="l_gm"))
    request = Request(0, TRAIN, bench.foundation.space.sample(numpy_generator(0, "final")), "test")
    assert evaluate(request, bench).status == OK
    item = Final(weights_path(bench.folder, request), full=False, mixture=True)
    found, again = (measured((bench, item.weights), item)[0].detection for _ in range(2))
    assert found == again
    assert set(found) == {"uniform noise", "permuted pixels"}
    assert all(0 <= score <= 1 for d in found.values() for score in (d.likelihood, d.softmax))


def test_a_network_that_cannot_be_exported_is_measured_as_it_is(
    trained: tuple[Bench, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = measured(trained, Final(trained[1], onnx=False))

    def refuse(*_: object) -> None:
        raise ExportError("torch cannot trace it")

    monkeypatch.setattr(workers.finals, "export_program", refuse)
    result, _ = measured(trained, Final(trained[1]))
    assert "cannot trace" in result.problem
    assert (result.program, result.onnx, result.sameness) == (None, None, None)
    assert (result.params, result.macs, result.bytes) == (whole.params, whole.macs, whole.bytes)
    assert result.test_accuracy == whole.test_accuracy
