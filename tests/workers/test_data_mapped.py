"""Sets larger than memory: decoded into files, the same images, and memory that does not grow with them."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from training_cases import EVERYTHING, same

import workers.data.load
import workers.data.mapped
from spaces.networks import NetworkSpec, build_network
from workers.batches import place, to_tensors
from workers.data import DataError, DataRequest, Splits, load_splits
from workers.data.mapped import file_of
from workers.train import train


def write(path: Path, count: int, side: int) -> Path:
    """Images of three classes in small row groups, so that a reader can go on with a part of the file."""
    pool = []
    for i in range(30):
        content = io.BytesIO()
        Image.new("RGB", (side, side), (i, 8 * i, 80 * (i % 3))).save(content, "PNG")
        pool.append({"bytes": content.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [pool[i % 30] for i in range(count)]
    pq.write_table(
        pa.table({"image": pa.array(rows, kind), "label": pa.array([i % 3 for i in range(count)], pa.int64())}),
        path,
        row_group_size=200,
    )
    return path


@pytest.fixture
def request_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRequest:
    monkeypatch.setattr(workers.data.load, "SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr(workers.data.mapped, "DECODED_AT_A_TIME", 7 * 8 * 8 * 3)
    return DataRequest(str(write(tmp_path / "set.parquet", 90, 8)), cache=tmp_path / "cache")


def parts_of(splits: Splits) -> tuple[np.ndarray, ...]:
    return tuple(part.images for part in (splits.train, splits.validation, splits.test))


def test_images_of_files_are_those_in_memory(request_of_files: DataRequest) -> None:
    mapped, held = load_splits(request_of_files), load_splits(replace(request_of_files, cache=None))
    for one, other in zip(parts_of(mapped), parts_of(held), strict=True):
        assert file_of(one) is not None
        assert file_of(other) is None
        np.testing.assert_array_equal(one, other)
    for one, other in zip(mapped.statistics(), held.statistics(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_small_sets_stay_in_memory(request_of_files: DataRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.data.load, "SHARE_OF_MEMORY", 0.25)
    assert file_of(load_splits(request_of_files).train.images) is None
    assert not (request_of_files.cache or Path()).exists()


def test_files_are_used_again_until_the_source_changes(
    request_of_files: DataRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = parts_of(load_splits(request_of_files))

    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(workers.data.mapped, "decode_rows", fail)
        again = parts_of(load_splits(request_of_files))
        with pytest.raises(AssertionError):
            load_splits(replace(request_of_files, seed=1))
    assert [file_of(images) for images in again] == [file_of(images) for images in first]
    write(Path(request_of_files.source), 93, 8)
    assert len(load_splits(request_of_files).train) != len(first[0])


def test_a_decoding_that_fails_leaves_no_file(request_of_files: DataRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_rows, calls = workers.data.mapped.decode_rows, []

    def fail(*arguments: object) -> np.ndarray:
        calls.append(0)
        if len(calls) > 2:
            raise DataError("row 3 is broken")
        return decode_rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(workers.data.mapped, "decode_rows", fail)
    with pytest.raises(DataError, match="row 3"):
        load_splits(request_of_files)
    assert request_of_files.cache is not None
    assert not list(request_of_files.cache.iterdir())


def test_a_disk_without_room_is_named(request_of_files: DataRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.data.mapped.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(DataError, match=r"0\.0 GB free on the disk.*Mend|make size or limit smaller"):
        load_splits(request_of_files)


def test_another_process_gets_the_name_of_the_file_and_not_the_images(request_of_files: DataRequest) -> None:
    train = load_splits(request_of_files).train
    message = pickle.dumps(train)
    assert len(message) < train.images.nbytes / 2
    arrived = pickle.loads(message)
    assert file_of(arrived.images) == file_of(train.images)
    np.testing.assert_array_equal(arrived.images, train.images)
    part = train.subset([3, 1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).images, part.images)
    path = file_of(train.images)
    assert path is not None
    path.unlink()
    with pytest.raises(DataError, match=r"cannot be opened here.*storage that all machines"):
        pickle.loads(message)


def test_training_on_files_gives_the_same_bits(request_of_files: DataRequest) -> None:
    networks = []
    for request in (request_of_files, replace(request_of_files, cache=None)):
        splits = load_splits(request)
        data = to_tensors(splits.train, *splits.statistics())
        spec = NetworkSpec("inception", (3, 8, 8), 3, {"stem": 4, "widths": [8], "modules": [1]})
        networks.append(place(build_network(spec), data))
        networks[-1].load_state_dict(networks[0].state_dict())
        if len(networks) == 1:
            first = {name: value.clone() for name, value in networks[0].state_dict().items()}
        networks[-1].load_state_dict(first)
        train(networks[-1], data, replace(EVERYTHING, distillation=0.0, epochs=2, give_up=0.0), 0)
    assert same(*networks)


SCRIPT = """
import sys
from pathlib import Path
import psutil, torch
from torch import nn
from workers.batches import to_tensors
from workers.data import DataRequest, load_splits
from workers.limits import memory_limit
from workers.train import TrainSettings, train
source, cache, megabytes = Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3])
network = nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
settings = TrainSettings(epochs=1, batch_size=4, flip=True, shift=2)
warm = load_splits(DataRequest(str(source.with_name("small.parquet"))))  # imports, threads and pools are there now
train(network, to_tensors(warm.train, *warm.statistics()), settings, 0)
def private():
    return psutil.Process().memory_info().data / 2**20
before = private()
with memory_limit(megabytes):
    splits = load_splits(DataRequest(str(source), cache=None if cache is None else Path(cache)))
    data = to_tensors(splits.train, *splits.statistics())
    train(network, data, settings, 0)
total = sum(p.images.nbytes for p in (splits.train, splits.validation, splits.test)) / 2**20
print(f"{total:.0f} MB of images, private memory grew by {private() - before:.0f} MB, allowed {megabytes} MB")
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    source = write(tmp_path / "set.parquet", 4000, 256)
    write(tmp_path / "small.parquet", 60, 256)

    def run(cache: str) -> subprocess.CompletedProcess[str]:
        # So that the set goes to files although this machine could hold it.
        script = "import workers.data.load as load; load.SHARE_OF_MEMORY = 1e-6\n" + SCRIPT
        command = [sys.executable, "-c", script, str(source), cache, "180"]
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)

    streamed, held = run(str(tmp_path / "cache")), run("")
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout.startswith("750 MB of images"), streamed.stdout
    assert held.returncode != 0
    assert "allocate" in held.stderr, "the limit must be one that the set does not keep to in memory"
