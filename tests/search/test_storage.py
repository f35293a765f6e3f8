"""Objects come whole or not at all, and no message holds a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.config import check_storage
from search.loading import ConfigError, parse_config
from search.storage import Place, StorageError, open_place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return open_place((tmp_path / "store" / "run").as_uri())


def test_what_is_written_is_read_listed_and_removed(place: Place) -> None:
    assert place.names() == {}
    assert place.read("a/b.txt") is None
    place.write("a/b.txt", b"first")
    place.write("a/b.txt", b"second")
    place.write("c", b"")
    assert place.names() == {"a/b.txt": 6, "c": 0}
    assert place.read("a/b.txt") == b"second"
    place.remove("a/b.txt")
    place.remove("a/b.txt")
    assert place.names() == {"c": 0}


def test_a_file_that_could_not_be_written_to_its_end_is_not_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("weights", b"whole")

    def torn(self: Place, path: str, content: bytes) -> None:
        Path(path).write_bytes(content[:2])
        raise OSError("no space left")

    monkeypatch.setattr(Place, "_put", torn)
    with pytest.raises(StorageError, match="no space left"):
        place.write("weights", b"another")
    assert place.names() == {"weights": 5}
    assert place.read("weights") == b"whole"


def test_errors_hold_no_credentials(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "PLANTEDKEY")

    def refused(self: Place, path: str, content: bytes) -> None:
        raise OSError("key PLANTEDKEY is not allowed at http://me:planted@store:80/?token=planted")

    monkeypatch.setattr(Place, "_put", refused)
    with pytest.raises(StorageError) as caught:
        place.write("weights", b"")
    assert "planted" not in str(caught.value).lower()
    assert caught.value.__cause__ is None
    assert "is not allowed" in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAPLANTED:planted/secret@bucket/runs",
        "s3://bucket/runs?endpoint_override=http://me:planted@host",
        "s3://bucket/runs#planted",
    ],
)
def test_an_address_with_credentials_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"storage: .*environment") as caught:
        parse_config({"name": "x", "data": {"source": "digits"}, "storage": uri})
    assert "planted" not in str(caught.value).lower()


@pytest.mark.parametrize("uri", ["runs", "/mnt/runs", "s3://", "://x"])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="s3://BUCKET/FOLDER"):
        check_storage(uri)


def test_a_kind_of_storage_that_arrow_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"storage: nothing://bucket/runs: .*s3://BUCKET"):
        open_place("nothing://bucket/runs")
