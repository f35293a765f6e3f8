"""What a network takes of a GPU: the steps that are measured run anywhere, the measure needs a GPU."""

from __future__ import annotations

from pathlib import Path

import torch
from small_bench import SPEC, TRAINING, small_bench

from spaces.networks import build_network
from workers.batches import place
from workers.measure.memory import measure_memory


def test_memory_is_measured_where_there_is_a_gpu(tmp_path: Path) -> None:
    bench = small_bench(tmp_path)
    before = {key: value.clone() for key, value in build_network(SPEC).state_dict().items()}
    network = place(build_network(SPEC), bench.data.train)
    found = measure_memory(network, bench.data, TRAINING, bench.probe)
    assert any(not torch.equal(value.cpu(), before[key]) for key, value in network.state_dict().items()), "not trained"
    if torch.cuda.is_available():
        assert found is not None
        assert 0 < found.used < found.total
    else:
        assert found is None
