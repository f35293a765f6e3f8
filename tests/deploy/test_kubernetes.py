"""The KubeRay manifests: valid, hardened, without a secret, and true to the values they are rendered with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from deployment import DEPLOY, RENDER, documents, locked, rendered, schema

KINDS = {"raycluster": "RayCluster", "rayjob": "RayJob"}
VALUES = RENDER.read_values(DEPLOY / "kubernetes" / "values.env")


def cluster(name: str, **given: str) -> dict[str, Any]:
    """The cluster's part of a manifest."""
    [document] = documents(f"kubernetes/{name}.yaml", **given)
    spec: dict[str, Any] = document["spec"]
    return spec if name == "raycluster" else spec["rayClusterSpec"]


def pods(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield group["template"]["spec"]


@pytest.mark.parametrize("name", KINDS)
def test_manifests_are_valid(name: str) -> None:
    """Against the schema of KubeRay's own definition; fields that it does not know are faults, too."""
    definition = json.loads(schema(f"{name}-v1.json").read_text())["openAPIV3Schema"]
    [document] = documents(f"kubernetes/{name}.yaml")
    assert document["kind"] == KINDS[name]
    checker = jsonschema.Draft202012Validator(closed(definition))
    assert [f"{list(e.absolute_path)}: {e.message}" for e in checker.iter_errors(document)] == []
    document["spec"]["rayVersoin"] = "2"
    assert list(checker.iter_errors(document))


def closed(part: Any) -> Any:
    if isinstance(part, list):
        return [closed(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    result = {key: closed(inner) for key, inner in part.items()}
    if result.get("type") == "object" and "properties" in result:
        result.setdefault("additionalProperties", False)
    return result


@pytest.mark.parametrize("name", KINDS)
def test_every_container_has_the_least_rights(name: str) -> None:
    spec = cluster(name)
    containers = [container for pod in pods(spec) for container in pod["containers"]]
    for holder in (*containers, spec["autoscalerOptions"]):
        context = holder["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["runAsNonRoot"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers:
        assert {"readinessProbe", "livenessProbe", "resources"} <= set(container)
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert ":" in container["image"]
        assert not container["image"].endswith(":latest")
    for group in spec["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == "niwaki-worker"
    for pod in pods(spec):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("name", KINDS)
def test_the_token_is_on_and_secrets_are_references(name: str) -> None:
    spec = cluster(name)
    assert spec["authOptions"] == {"mode": "token", "secretName": VALUES["NIWAKI_TOKEN_SECRET"]}
    assert spec["rayVersion"] == locked("ray")
    for pod in pods(spec):
        for container in pod["containers"]:
            assert "env" not in container
            assert [list(source) for source in container["envFrom"]] == [["secretRef"]]


def test_the_dashboard_listens_outside_only_where_the_operator_needs_it() -> None:
    assert cluster("raycluster")["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    [policy] = [d for d in documents("kubernetes/base.yaml") if d["kind"] == "NetworkPolicy"]
    own, operator = policy["spec"]["ingress"]
    assert own == {"from": [{"podSelector": {}}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_the_namespace_refuses_whatever_is_not_hardened() -> None:
    namespace = documents("kubernetes/base.yaml")[0]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("value", sorted(VALUES))
def test_every_value_is_filled_in(value: str) -> None:
    """Each is asked for somewhere, and what is given stands there afterwards, in manifests that can still be read."""
    changed = "17" if VALUES[value].isdigit() else "changed-9"
    names = [
        name
        for name in ("base", "podmonitor", *KINDS)
        if f"${{{value}}}" in (DEPLOY / f"kubernetes/{name}.yaml").read_text()
    ]
    assert names
    for name in names:
        assert changed not in rendered(f"kubernetes/{name}.yaml")
        assert changed in rendered(f"kubernetes/{name}.yaml", **{value: changed})
        assert documents(f"kubernetes/{name}.yaml", **{value: changed})


def test_gpu_workers_go_where_gpus_are() -> None:
    spec = cluster("raycluster", NIWAKI_GPU_NODE_KEY="cloud.example/gpu", NIWAKI_GPU_NODE_VALUE="l4")
    [gpu] = [group for group in spec["workerGroupSpecs"] if group["groupName"] == "gpu"]
    pod = gpu["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.example/gpu": "l4"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["minReplicas"] <= gpu["replicas"] <= gpu["maxReplicas"]


@pytest.mark.parametrize(
    "pair", ["NAME", "=1", "NIWAKI_SECRET=", "NIWAKI_SECRET=a\nb: c", 'NIWAKI_SECRET=a"b', "A=${B}"]
)
def test_values_that_would_change_the_structure_are_refused(pair: str) -> None:
    with pytest.raises(RENDER.Refused):
        RENDER.parse([pair])


def test_unknown_and_missing_values_are_refused() -> None:
    with pytest.raises(RENDER.Refused, match="OTHER"):
        RENDER.render("a", {}, {"OTHER": "1"})
    with pytest.raises(RENDER.Refused, match="GONE"):
        RENDER.render("${GONE}", {}, {})
