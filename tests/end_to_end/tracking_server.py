"""A team's MLflow server, started for a test: PostgreSQL behind it, artifacts in an S3-compatible store (moto's)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USER, PASSWORD = "mlflow", "planteddatabase"
KEY, SECRET = "plantedaccess", "plantedsecret"
BUCKET = "niwaki"
SERVE = Path(__file__).parents[2] / "deploy" / "images" / "serve-mlflow"
PATIENCE = 500.0


def missing() -> str:
    """What of the servers cannot be started here; empty where all can."""
    modules = [name for name in ("psycopg2", "boto3", "moto") if importlib.util.find_spec(name) is None]
    programs = [] if _postgres_programs() else ["PostgreSQL's initdb and postgres"]
    return ", ".join(modules + programs)


@dataclass
class TrackingServer:
    """An MLflow server that can be killed, held up and started again; what is behind it stays.

    Attributes:
        folder: of its logs and secrets.
        port: its own.
        database_port: PostgreSQL's.
        store: endpoint of the object store.
        process: its first process, while it runs.
    """

    folder: Path
    port: int
    database_port: int
    store: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def uri(self) -> str:
        """Without credentials."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        """URI of PostgreSQL, password included."""
        return f"postgresql+psycopg2://{USER}:{PASSWORD}@127.0.0.1:{self.database_port}/mlflow"

    @property
    def log(self) -> Path:
        """What the server said, of all its lives."""
        return self.folder / "mlflow-server.log"

    def start(self) -> None:
        """Start it as the container of deploy/ does, and wait until it answers."""
        secrets = {"POSTGRES_PASSWORD": PASSWORD, "S3_ACCESS_KEY": KEY, "S3_SECRET_KEY": SECRET}
        for name, value in secrets.items():
            (self.folder / name).write_text(value)
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            **{f"{name}_FILE": str(self.folder / name) for name in secrets},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(self.database_port),
            "S3_BUCKET": BUCKET,
            "MLFLOW_S3_ENDPOINT_URL": self.store,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_BIND": "127.0.0.1",
            "MLFLOW_PORT": str(self.port),
            "MLFLOW_PROCESSES": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "ALLOWED_HOSTS": f"127.0.0.1:{self.port}",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["sh", SERVE], env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        _wait_for(f"{self.uri}/health", self.process, self.log)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, as when its machine goes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def tracking_server(folder: Path) -> Iterator[TrackingServer]:
    """A running server with nothing in it; everything is gone after the block. ``folder`` takes logs and secrets."""
    with _postgres() as database_port, _object_store(folder) as store:
        server = TrackingServer(folder, free_port(), database_port, store)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def _postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True))]
    folders = [Path(path).resolve().parent for path in found if path]
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextlib.contextmanager
def _postgres() -> Iterator[int]:
    """A PostgreSQL server of our own; its port. It refuses to run as root, who becomes nobody for it."""
    programs = _postgres_programs()
    assert programs is not None
    nobody: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    # Not pytest's folder: nobody may not enter that.
    with tempfile.TemporaryDirectory(prefix="niwaki-pg-", ignore_cleanup_errors=True) as name:
        home, port = Path(name), free_port()
        (home / "password").write_text(PASSWORD)
        for path in (home, home / "password"):
            path.chmod(0o755)
        if nobody:
            shutil.chown(home, "nobody", "nogroup")
        create = [programs / "initdb", "-D", home / "data", "-U", USER, "-A", "scram-sha-256", "--no-sync"]
        made = subprocess.run(
            [*create, f"--pwfile={home / 'password'}"], cwd=home, capture_output=True, text=True, check=False, **nobody
        )
        assert made.returncode == 0, made.stderr
        serve = [programs / "postgres", "-D", home / "data", "-p", str(port), "-h", "127.0.0.1", "-k", home]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(serve, cwd=home, stdout=log, stderr=log, start_new_session=True, **nobody)
        try:
            _wait_for_database(programs, home, port, process)
            make = [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", USER, "mlflow"]
            subprocess.run(make, env={**os.environ, "PGPASSWORD": PASSWORD}, check=True)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # its fast shutdown: clients are cut off
            process.wait(PATIENCE)


def _wait_for_database(programs: Path, home: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError((home / "log").read_text())
        time.sleep(0.1)


@contextlib.contextmanager
def _object_store(folder: Path) -> Iterator[str]:
    """Moto's S3 with an empty bucket; its endpoint."""
    port, log = free_port(), folder / "object-store.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=out, stderr=out
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(f"{endpoint}/moto-api/", process, log)
        _client(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def stored(server: TrackingServer) -> Mapping[str, bytes]:
    """Every object in the store."""
    client = _client(server.store)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def dumped(server: TrackingServer) -> bytes:
    """The whole database as SQL."""
    programs = _postgres_programs()
    assert programs is not None
    address = server.database.replace("+psycopg2", "")
    return subprocess.run([programs / "pg_dump", address], capture_output=True, check=True).stdout


def _client(endpoint: str) -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(log.read_text()) from None
            time.sleep(0.1)
