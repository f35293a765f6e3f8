"""Where MLflow keeps its runs; talking to it without noise or long waits, and of it without secrets."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BRISK = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
}
_SECRET = re.compile(r"((?:password|passwd|token|secret|api_?key|access_?key)=)[^&\s]+", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")
# SQLAlchemy takes a slash in a password for a part of it.
_DATABASE = re.compile(r"((?:postgresql|mysql|mssql|oracle)(?:\+\w+)?://)\S*@")


class TrackingError(RuntimeError):
    """MLflow could not be reached or refused; the message is one line, without credentials."""


@dataclass(frozen=True)
class Store:
    """Where MLflow keeps runs.

    Attributes:
        uri: tracking URI, credentials included: never print it, print :attr:`shown`.
        artifacts: URI of the folder for artifacts of new experiments; None leaves it to the server.
    """

    uri: str = field(repr=False)
    artifacts: str | None = None

    @property
    def shown(self) -> str:
        """The URI without credentials."""
        return redact(self.uri)


def find_store(out: Path, uri: str | None = None) -> Store:
    """The store of runs in folder ``out``: ``MLFLOW_TRACKING_URI``, else ``uri``, else SQLite beside ``out``.

    All paths become absolute: relative ones would scatter databases over the working directories of workers.
    Where MLflow talks to a database directly, artifacts go to ``mlartifacts`` beside it (beside ``out`` if it is
    not a file); a server decides for itself.
    """
    home = Path(out).absolute().parent
    uri = os.environ.get("MLFLOW_TRACKING_URI") or uri or f"sqlite:///{home / 'mlflow.db'}"
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///")).absolute()
        return Store(f"sqlite:///{database}", (database.parent / "mlartifacts").as_uri())
    if re.match(r"(postgresql|mysql|mssql)(\+\w+)?://", uri):
        return Store(uri, (home / "mlartifacts").as_uri())
    return Store(uri)


def redact(text: str) -> str:
    """``text`` without the credentials of URIs (``user:password@`` and ``token=…``) that stand in it."""
    return _SECRET.sub(r"\1…", _USERINFO.sub("…@", _DATABASE.sub(r"\1…@", text)))


def without_credentials(uri: str) -> str:
    """``uri`` as it may lie in a file; the same where it holds no credentials.

    What is left out comes from the environment when it is used: ``MLFLOW_TRACKING_USERNAME`` and ``…_PASSWORD`` for a
    server, ``PGUSER`` and ``PGPASSWORD`` for PostgreSQL, or the whole URI in ``MLFLOW_TRACKING_URI``.
    """
    scheme, mark, rest = _DATABASE.sub(r"\1@", uri).partition("://")
    place, slash, path = rest.partition("/")
    bare = f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"
    address, question, query = bare.partition("?")
    kept = [part for part in query.split("&") if not _SECRET.match(part)]
    return f"{address}{question}{'&'.join(kept)}" if kept and question else address


def redact_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): redact_all(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(v) for v in value]
    return redact(value) if isinstance(value, str) else value


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """MLflow and Alembic report every table they create and every model they register: not to our users."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def brisk() -> Iterator[None]:
    """Short timeouts unless the user chose some: MLflow's own let an unreachable server stall a call for minutes."""
    ours = {name: value for name, value in _BRISK.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def readable_errors(store: Store, *passed: type[Exception]) -> Iterator[None]:
    """Anything that MLflow raises becomes a :class:`TrackingError`; the classes ``passed`` stay as they are."""
    untouched: tuple[type[Exception], ...] = (TrackingError, *passed)
    try:
        yield
    except untouched:
        raise
    except Exception as error:  # MLflow, requests and SQLAlchemy raise classes that share nothing
        text = redact(" ".join(str(error).split()))[:300]
        # Not chained: the original's text may hold the password.
        raise TrackingError(f"MLflow at {store.shown}: {type(error).__name__}: {text}") from None
