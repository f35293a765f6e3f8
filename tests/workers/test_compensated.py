"""A bench whose candidates are compensated: the same results from the same request, in any process."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from small_bench import small_bench

from spaces.foundation import Foundation
from workers.evaluate import evaluate
from workers.evaluation import OK, PROBE, TRAIN, Request


def as_shared(foundation: Foundation) -> Foundation:
    """As a worker gets it from the object store: a copy, its arrays read-only."""
    copy: Foundation = pickle.loads(pickle.dumps(foundation))
    for trunk in copy.trunks.values():
        assert trunk.moments is not None
        for inputs in trunk.moments:
            inputs.mean.flags.writeable = False
            if inputs.covariance is not None:
                inputs.covariance.flags.writeable = False
    return copy


@pytest.mark.parametrize("stage", [PROBE, TRAIN])
def test_a_worker_gets_what_another_gets(stage: str, tmp_path: Path) -> None:
    bench = small_bench(tmp_path, compensate=True)
    genome = replace(bench.foundation.space.uniform(0.5), growth=(0, 1))
    request = Request(0, stage, genome, "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = replace(bench, foundation=as_shared(bench.foundation))
        first, second = evaluate(request, bench), evaluate(request, other)
    assert first.status == OK, first.message
    assert first.metrics == second.metrics
    plain = small_bench(tmp_path)
    assert evaluate(request, plain).metrics["loss"] != first.metrics["loss"]
