"""The Compose file: every name that it uses is declared, every service is hardened, and nothing listens outside."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from deployment import DEPLOY, locked, schema

TEXT = (DEPLOY / "compose" / "compose.yaml").read_text()


def composed(**given: str) -> dict[str, Any]:
    """The file with its variables replaced as Compose replaces them."""
    content: dict[str, Any] = yaml.safe_load(replace(TEXT, given))
    return content


def replace(text: str, given: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), text)


SERVICES = composed()["services"]


def test_the_file_follows_the_specification() -> None:
    checker = jsonschema.Draft7Validator(json.loads(schema("compose-spec.json").read_text()))
    for name in ("compose.yaml", "compose.gpu.yaml"):
        content = yaml.safe_load(replace((DEPLOY / "compose" / name).read_text(), {}))
        assert [f"{list(e.absolute_path)}: {e.message}" for e in checker.iter_errors(content)] == []


@pytest.mark.parametrize("kind", ["networks", "secrets"])
def test_what_is_used_is_declared_and_what_is_declared_is_used(kind: str) -> None:
    used = {name for service in SERVICES.values() for name in service.get(kind, [])}
    assert used == set(composed()[kind])


def test_services_wait_for_services_that_there_are() -> None:
    for service in SERVICES.values():
        wanted = service.get("depends_on", [])
        assert set(wanted) <= set(SERVICES)
        for name, how in wanted.items() if isinstance(wanted, dict) else ():
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_the_least_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "1000:1000"
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))
    for key in service.get("environment", {}):  # secrets are files
        assert key.endswith(("_FILE", "_PATH")) or not re.search("PASSWORD|TOKEN|SECRET|KEY", key)


def test_only_mlflow_is_published_and_on_loopback_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"mlflow": ["127.0.0.1:5000:5000"]}


def test_workers_reach_neither_database_nor_store() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert networks["worker"] == {"cluster"}
    assert not networks["head"] & networks["postgres"]
    assert all(composed()["networks"][name]["internal"] for name in ("cluster", "tracking", "storage"))


def test_the_head_is_known_by_its_name_in_the_workers_network() -> None:
    """It is in another network, too, and has an address in each."""
    name = SERVICES["head"]["environment"]["NIWAKI_NODE_NAME"]
    aliases = {network: (how or {}).get("aliases", []) for network, how in SERVICES["head"]["networks"].items()}
    assert aliases == {"cluster": [name], "tracking": []}
    assert "NIWAKI_NODE_NAME" not in SERVICES["worker"]["environment"]


def test_homes_can_be_written() -> None:
    """Not every engine gives a tmpfs over a folder of the image the mode that it was told; /tmp has it in any case."""
    for name, service in SERVICES.items():
        home = service["environment"].get("HOME") if service.get("environment") else None
        assert home in (None, "/tmp"), name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        image = service["image"]
        assert image.startswith("niwaki") or re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), name


def test_changed_values_arrive() -> None:
    services = composed(NIWAKI_IMAGE="mine:1", NIWAKI_WORKERS="7", NIWAKI_CPUS="3", NIWAKI_MLFLOW_PORT="5055")[
        "services"
    ]
    assert services["head"]["image"] == services["worker"]["image"] == "mine:1"
    assert services["worker"]["deploy"]["replicas"] == 7
    assert services["worker"]["command"][-1] == "--num-cpus=3"
    assert services["mlflow"]["ports"] == ["127.0.0.1:5055:5000"]
    assert "localhost:5055" in services["mlflow"]["environment"]["ALLOWED_HOSTS"]


def test_gpus_are_added_to_the_workers_alone() -> None:
    extra = yaml.safe_load(replace((DEPLOY / "compose" / "compose.gpu.yaml").read_text(), {"NIWAKI_GPUS": "2"}))
    assert set(extra["services"]) == {"worker"}
    [device] = extra["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["count"], device["capabilities"]) == (2, ["gpu"])


def test_secrets_are_made_once_for_one_reader(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_bytes((DEPLOY / "compose" / "make-secrets").read_bytes())
    script.chmod(0o755)
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    made = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(composed()["secrets"])
    for path in made.values():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(made["ray_token"].read_text()) == 64
    identity = json.loads(made["s3_config"].read_text())["identities"][0]
    assert identity["credentials"] == [
        {"accessKey": made["s3_access_key"].read_text(), "secretKey": made["s3_secret_key"].read_text()}
    ]
    assert f"NIWAKI_UID={os.getuid()}" in (tmp_path / ".env").read_text()
    again = subprocess.run([script], capture_output=True, text=True, timeout=30)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_servers_and_clients_of_mlflow_are_of_one_version() -> None:
    lock = (DEPLOY / "images" / "mlflow.lock").read_text()
    assert f"mlflow=={locked('mlflow')}\n" in lock
    assert re.search(r"^psycopg2-binary==", lock, re.MULTILINE)
    assert re.search(r"^boto3==", lock, re.MULTILINE)


def test_ports_match_those_of_the_nodes() -> None:
    node = (DEPLOY / "ray-node").read_text()
    assert '--node-manager-port="$((port + 1))"' in node
    assert ", 6380)" in SERVICES["head"]["healthcheck"]["test"][-1]
    assert SERVICES["head"]["healthcheck"] == SERVICES["worker"]["healthcheck"]
