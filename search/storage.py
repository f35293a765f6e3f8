"""A folder on object storage (``s3://``, ``gs://``, ``file://`` …) through Arrow, spoken of without credentials.

Who may read and write there is asked of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and their like),
as the store's own tools do: never of a configuration, an argument or an address.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType

from search.loading import ConfigError
from search.tracking_store import redact

WHOLE_ON_CLOSE = ("s3", "gcs", "abfs")
"""Kinds of storage where an object appears when its last byte is there; elsewhere it is renamed into its place."""

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY")
"""Variables whose values no message repeats."""


class StorageError(RuntimeError):
    """Storage does not answer, or refuses; the message is one line, without credentials."""


@dataclass(frozen=True)
class Place:
    """A folder in storage; names are relative to it, with ``/`` between their parts.

    All methods raise :class:`StorageError`.
    """

    uri: str
    files: FileSystem = field(repr=False)
    path: str = field(repr=False)

    def names(self) -> dict[str, int]:
        """Bytes of every object in and below the folder; none where there is no folder."""
        with self._readable("listing"):
            found = self.files.get_file_info(FileSelector(self.path, allow_not_found=True, recursive=True))
        names = {PurePosixPath(f.path).relative_to(self.path): f.size for f in found if f.type == FileType.File}
        hidden = (name for name in names if any(part.startswith(".") for part in name.parts))
        return {str(name): names[name] for name in names.keys() - set(hidden)}

    def read(self, name: str) -> bytes | None:
        """An object's content; ``None`` where there is none."""
        with self._readable(name):
            try:
                with self.files.open_input_stream(self._of(name)) as stream:
                    content: bytes = stream.read()
                    return content
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Put an object there, whole or not at all, in place of the one there was."""
        path = self._of(name)
        with self._readable(name):
            if self.files.type_name in WHOLE_ON_CLOSE:
                self._put(path, content)
                return
            folder, _, last = path.rpartition("/")
            temporary = f"{folder}/.{secrets.token_hex(4)}.{last}"
            self.files.create_dir(folder, recursive=True)
            self._put(temporary, content)
            self.files.move(temporary, path)

    def remove(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
        with self._readable(name):
            try:
                self.files.delete_file(self._of(name))
            except FileNotFoundError:
                return

    def _of(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _put(self, path: str, content: bytes) -> None:
        with self.files.open_output_stream(path) as stream:
            stream.write(content)

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            # Not chained: the original's text may hold a key.
            raise StorageError(f"storage {self.uri}: {name}: {without_secrets(error)}") from None


def open_place(uri: str) -> Place:
    """The folder at ``uri``; it need not exist yet, and its bucket is not asked for it.

    Raises:
        ConfigError: Arrow knows no such storage.
    """
    try:
        files, path = FileSystem.from_uri(uri)
        if files.type_name == "s3":
            files = _impatient(files.region)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(
            f"storage: {redact(uri)}: {without_secrets(error)}; give s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or "
            "file:///FOLDER, and credentials by the environment"
        ) from None
    return Place(redact(uri), files, path.rstrip("/"))


def _impatient(region: str) -> FileSystem:
    """S3 that gives up after seconds: it is tried again here, and a process ends only when its last request has."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem  # not in every build of Arrow

    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    return S3FileSystem(
        region=region,
        scheme=endpoint.scheme or "https",
        endpoint_override=endpoint.netloc.rpartition("@")[2] or None,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=2),
        connect_timeout=5.0,
        request_timeout=10.0,
        background_writes=False,
    )


def without_secrets(error: Exception) -> str:
    """An error's text on one line, without what the environment keeps secret."""
    text = redact(" ".join(str(error).split()))[:400] or type(error).__name__
    for value in filter(None, map(os.environ.get, SECRETS)):
        text = text.replace(value, "…")
    return text
