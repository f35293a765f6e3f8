"""Rules, monitor and page of the metrics: they speak of metrics that there are, with the labels that these have."""

from __future__ import annotations

import re

import yaml
from deployment import DEPLOY, documents

from search.tally import METERS
from workers.meters import COUNTER

RULES = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
NAMES = {f"ray_{meter.name}{'_total' if meter.kind == COUNTER else ''}": meter for meter in METERS}
LABELS = {"run", "run_id"}


def test_rules_ask_for_metrics_and_labels_that_there_are() -> None:
    [group] = RULES["groups"]
    assert len(group["rules"]) >= 4
    for rule in group["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        asked = re.findall(r"(ray_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert asked
        for name, selected in asked:
            wanted = set(re.findall(r'(\w+)=~?"', selected))
            assert wanted <= {*NAMES[name].labels, *LABELS}, rule["alert"]
        for by in re.findall(r"by \(([^)]*)\)", rule["expr"]):
            assert set(by.split(", ")) == LABELS
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_page_lists_every_metric_label_and_alert() -> None:
    page = (DEPLOY / "metrics.md").read_text()
    rows = {cells[1].strip(" `"): cells[2] for line in page.splitlines() if len(cells := line.split("|")) > 3}
    for name, meter in NAMES.items():
        assert set(re.findall(r"`(\w+)`|(\w+):", rows[name])) >= {(label, "") for label in meter.labels}
    assert {rule["alert"] for rule in RULES["groups"][0]["rules"]} <= set(rows)
    assert {name for name in rows if name.startswith("ray_niwaki")} == set(NAMES)


def test_prometheus_is_let_through_to_the_metrics_alone() -> None:
    monitor, policy = documents("kubernetes/podmonitor.yaml", NIWAKI_PROMETHEUS_NAMESPACE="watchers")
    [end] = monitor["spec"]["podMetricsEndpoints"]
    [rule] = policy["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "watchers"}}}]
    assert monitor["spec"]["selector"] == policy["spec"]["podSelector"]
    for name in ("raycluster", "rayjob"):
        text = yaml.safe_dump_all(documents(f"kubernetes/{name}.yaml"))
        assert text.count(f"name: {end['port']}\n") == 3, "head, CPU and GPU workers"
        assert f"containerPort: {rule['ports'][0]['port']}\n" in text
