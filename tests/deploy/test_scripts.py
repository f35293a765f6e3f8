"""The deployment's scripts and images: linted, pinned, and a node that does not start without a token."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from deployment import DEPLOY, ROOT, SCRIPTS, documents, load, locked, tool

DOCKERFILES = sorted((DEPLOY / "images").glob("Dockerfile*"))
STUB = """#!/bin/sh
exec >> "$TOLD"
echo "$0 $*"; env | grep -E "^(RAY|NIWAKI|[A-Z]+_METRIC)_" || true; stat -c "mode %a" "$RAY_AUTH_TOKEN_PATH" || true
"""


def test_all_scripts_are_found() -> None:
    names = {path.name for path in SCRIPTS}
    assert {"ray-node", "make-secrets", "serve-mlflow", "niwaki.sbatch"} <= names
    assert len(DOCKERFILES) == 3
    for script in SCRIPTS:
        assert script.suffix == ".sbatch" or os.access(script, os.X_OK)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    found = subprocess.run([tool("shellcheck"), str(script)], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda p: p.name)
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    found = subprocess.run([tool("hadolint"), str(file)], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda p: p.name)
def test_images_are_pinned_and_run_as_nobody_special(file: Path) -> None:
    text = file.read_text()
    sent = set((ROOT / ".dockerignore").read_text().splitlines())
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "1000:1000"
    assert not re.search(r"^(FROM|COPY --from=)\S*:?latest", text, re.MULTILINE)
    assert not re.search(r"^(ENV|ARG) .*(TOKEN|PASSWORD|SECRET)(?!_)", text, re.MULTILINE)
    for source in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*) \S+$", text, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), path
            assert {f"!{place}" for place in (path, *map(str, Path(path).parents))} & sent, f"{path} is not sent"
    python = re.search(r"python:(?:\$\{PYTHON\}|(3\.\d+))|ARG PYTHON=(3\.\d+)", text)
    assert python is not None


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_code_is_a_layer_of_its_own(name: str) -> None:
    """Above the packages: a change of code must not send them again."""
    packages, *_, code = re.findall(r"^COPY --from=build .*$", (DEPLOY / "images" / name).read_text(), re.MULTILINE)
    assert packages.split()[-2:] == ["/opt/venv", "/opt/venv"]
    assert code.split()[-2:] == ["/opt/code", "/opt/venv"]


def test_images_hold_what_the_lock_pins_and_no_more() -> None:
    select = load(DEPLOY / "images" / "runtime_lock.py").select
    locks = [(ROOT / name).read_text().splitlines() for name in ("requirements.lock", "deploy/cluster.lock")]
    lines = [line for lock in locks for line in lock]
    cuda, cpu = select(lines, "cuda"), select(lines, "cpu")
    assert set(cpu) < set(cuda) < set(lines)
    names = {re.split("==|;", line)[0].strip() for line in cuda}
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'^    "([\w-]+)', project[project.index("dependencies") : project.index("[project.opt")], re.M)
    assert set(wanted) <= names
    assert {f"torch=={locked('torch')}"} <= set(cpu)
    default = [line for line in requires("ray") or [] if 'extra == "default"' in line]
    assert default
    assert {re.split(r"[\s;<>=!~\[]", line)[0].replace("_", "-") for line in default} <= names
    assert not [line for line in cpu if line.startswith(("nvidia", "pytest", "mypy"))]
    with pytest.raises(ValueError, match="cpu or cuda"):
        select(lines, "tpu")


def test_the_ray_up_file_passes_rays_own_validator() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    for given in ({}, {"NIWAKI_GPU_TYPE": "p5.4xlarge", "NIWAKI_GPU_MOST": "31"}):
        [config] = documents("ray-up/cluster.yaml", **given)
        util.validate_config(util.prepare_config(config))
    assert config["available_node_types"]["gpu"]["max_workers"] == 31
    assert config["available_node_types"]["gpu"]["node_config"]["InstanceType"] == "p5.4xlarge"
    with pytest.raises(Exception, match="nonsense"):
        util.validate_config({**util.prepare_config(config), "nonsense": 1})
    for kind in config["available_node_types"].values():  # Ray's own group would open SSH to everybody
        assert kind["node_config"]["SecurityGroupIds"]
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("deploy/ray-node " in line for line in starts)
    assert not re.search(r"\$\{", yaml.safe_dump(config))


class Stage:
    """A place where `ray` and the like only note how they were called."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.home, self.told = folder / "home", folder / "told.txt"
        (self.home / ".ray").mkdir(parents=True)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in names:
            self.put(name, STUB)

    def put(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}:/usr/bin:/bin"
        known = {"HOME": str(self.home), "PATH": path, "TOLD": str(self.told), **environment}
        return subprocess.run(list(map(str, command)), env=known, capture_output=True, text=True, timeout=60)

    @property
    def notes(self) -> str:
        return self.told.read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "ray")


NODE = DEPLOY / "ray-node"


def test_no_node_starts_without_a_token(stage: Stage) -> None:
    for arguments in (["head"], ["worker", "10.0.0.1:6379"]):
        refused = stage.run(NODE, *arguments)
        assert refused.returncode == 2
        assert "ray get-auth-token --generate" in refused.stderr
    (stage.home / ".ray" / "auth_token").touch()
    assert stage.run(NODE, "head").returncode == 2  # an empty one is none
    assert not stage.told.exists()


@pytest.mark.parametrize("arguments", [[], ["boss"], ["worker"], ["worker", "nowhere"]])
def test_wrong_words_are_refused(stage: Stage, arguments: list[str]) -> None:
    refused = stage.run(NODE, *arguments, RAY_AUTH_TOKEN="x" * 32)
    assert refused.returncode == 2
    assert refused.stderr.startswith("ray-node: ")


def test_a_head_asks_for_the_token_and_keeps_the_dashboard_to_itself(stage: Stage) -> None:
    (stage.home / ".ray" / "auth_token").write_text("x" * 32)
    assert stage.run(NODE, "head", "--num-cpus=0").returncode == 0
    assert "RAY_AUTH_MODE=token" in stage.notes
    for option in (
        "start --head",
        "--port=6379",
        "--dashboard-host=127.0.0.1",
        "--num-cpus=0",
        "--max-worker-port=10999",
    ):
        assert option in stage.notes
    assert "x" * 32 not in stage.notes  # not in anybody's process list


def test_without_grpc_no_port_is_given_to_ray_client(stage: Stage) -> None:
    """Ray would refuse it."""
    stage.put("python", "#!/bin/sh\nexit 1\n")
    assert stage.run(NODE, "head", RAY_AUTH_TOKEN="x" * 32).returncode == 0
    assert "start --head" in stage.notes
    assert "client" not in stage.notes


def test_a_machine_in_several_networks_is_known_by_the_address_of_a_name(stage: Stage) -> None:
    stage.put("getent", '#!/bin/sh\n[ "$2" = head.cluster ] && echo "10.9.8.7 STREAM" && echo "10.9.8.6 STREAM"\n')
    assert stage.run(NODE, "head", RAY_AUTH_TOKEN="x" * 32, NIWAKI_NODE_NAME="head.cluster").returncode == 0
    assert "--node-ip-address=10.9.8.7 " in stage.notes
    refused = stage.run(NODE, "head", RAY_AUTH_TOKEN="x" * 32, NIWAKI_NODE_NAME="nowhere")
    assert refused.returncode == 2
    assert "NIWAKI_NODE_NAME=nowhere" in refused.stderr


@pytest.mark.parametrize(
    ("free", "most"),
    [("2097152", "2040109056"), ("65536", None), ("50000000", None)],
    ids=["a container's", "less than Ray takes", "a machine's"],
)
def test_objects_stay_in_shared_memory(stage: Stage, free: str, most: str | None) -> None:
    """In kilobytes, as `df -P` tells it; the rest is Ray's own choice."""
    stage.put(
        "df", f'#!/bin/sh\necho "Filesystem 1024-blocks Used Available"\necho "shm {free} 0 {free} 0% /dev/shm"\n'
    )
    assert stage.run(NODE, "head", RAY_AUTH_TOKEN="x" * 32).returncode == 0
    found = re.search(r"RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES=(\d+)", stage.notes)
    assert (found[1] if found else None) == most


def test_ray_takes_the_limit_of_its_object_store() -> None:
    limited = {**os.environ, "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "123456789"}
    ask = "from ray._private.utils import resolve_object_store_memory as ask; print(ask(10**12))"
    told = subprocess.run([sys.executable, "-c", ask], env=limited, capture_output=True, text=True, timeout=60)
    assert told.stdout.strip() == "123456789", told.stderr


def test_all_ports_are_documented(stage: Stage) -> None:
    stage.put("python", "#!/bin/sh\nexit 0\n")  # as where gRPC is installed
    assert stage.run(NODE, "head", RAY_AUTH_TOKEN="x" * 32).returncode == 0
    ports = set(re.findall(r"(?:-port|_METRIC_PORT)=(\d+)", stage.notes))
    assert len(ports) == 13
    page = (ROOT / "docs" / "security.md").read_text()
    for port in ports:
        assert port in page, port


SRUN = """#!/bin/sh
while :; do case $1 in --*) shift ;; *) break ;; esac; done
exec "$@"
"""


def test_a_slurm_job_brings_its_own_token_and_takes_it_away(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "ray")
    stage.put("srun", SRUN)
    stage.put("scontrol", "#!/bin/sh\necho node1\necho node2\n")
    checkout = tmp_path / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "deploy").mkdir()
    (checkout / "deploy" / "ray-node").write_bytes(NODE.read_bytes())
    (checkout / "deploy" / "ray-node").chmod(0o755)
    niwaki = checkout / ".venv" / "bin" / "niwaki"
    # A search is not over before its workers are there; the job ends with it.
    waits = 'until grep -q -e "start --address" "$TOLD"; do sleep 0.05; done\n'
    niwaki.write_text(f"{STUB}{waits}exit 3\n")
    niwaki.chmod(0o755)
    job = {"SLURM_SUBMIT_DIR": str(checkout), "SLURM_JOB_ID": "4211", "SLURM_JOB_NODELIST": "node[1-2]"}
    job |= {"SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "1", "RAY_AUTH_TOKEN": "left over from a shell"}
    ended = stage.run("bash", DEPLOY / "slurm" / "niwaki.sbatch", "my.yaml", "--set", "seed=1", **job)
    assert ended.returncode == 3, ended.stderr  # as the search did
    calls = [line for line in stage.notes.splitlines() if line.startswith(str(tmp_path))]
    port = 20000 + 11 * (4211 % 200)
    assert any(f"start --head --port={port}" in call and "--num-gpus=1" in call for call in calls)
    assert any(f"start --address=node1:{port}" in call for call in calls)
    assert any(f"search my.yaml --address node1:{port} --set cluster.workers=32 --set seed=1" in call for call in calls)
    assert "left over" not in stage.notes
    assert set(re.findall(r"mode (\d+)", stage.notes)) == {f"{stat.S_IRUSR | stat.S_IWUSR:o}"}
    assert list((stage.home / ".ray").iterdir()) == []
