"""From text to settings and back, and what is said of text that holds none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from search.config import BudgetConfig, ClusterConfig, ProbeConfig, SearchConfig, TrainConfig
from search.loading import ConfigError, dump_config, load_config, override, parse_config, parse_overrides, read_settings
from workers.cluster import ClusterSettings
from workers.data import DataRequest
from workers.probe import ProbeSettings
from workers.train import TrainSettings

LEAST: dict[str, Any] = {"name": "a", "data": {"source": "digits"}}


def refused(content: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(content)
    return str(caught.value)


def test_the_least_configuration_has_all_settings() -> None:
    config = parse_config(LEAST)
    assert config.search.probes == 240
    assert config.folder == Path("runs/a")


def test_a_configuration_survives_its_own_text(tmp_path: Path) -> None:
    written = {
        **LEAST,
        "seed": 2**63 - 1,
        "network": {"arguments": {"widths": [8, 16], "ratio": 0.1, "name": "äöü"}, "keep": ["stem*"]},
        "training": {"learning_rate": 1e-05, "flip": True},
        "budget": {"params": "1/16", "macs": "25%", "bytes": 20000},
        "export": {"formats": ["onnx"], "max_accuracy_drop": 0.0},
        "limits": {"memory_mb": 512},
    }
    config = parse_config(written)
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"space": {"blend": "paper"}}, "set budget.params, budget.macs or budget.bytes"),
        ({"space": {"blend": "paper", "criteria": ["l1"]}, "budget": {"params": 0.5}}, "name two or more"),
        ({"space": {"blend": "paper"}, "budget": {"params": 0.5}, "search": {"bisections": 2}}, "search.bisections: "),
        ({"search": {"bisections": 2, "strategy": "random"}}, "search.bisections: "),
        ({"space": {"criteria": ["l1", "l2"], "criteria_clusters": 3}}, "cannot exceed the 2 of space.criteria"),
    ],
)
def test_settings_that_leave_nothing_to_search_are_refused(settings: dict[str, Any], told: str) -> None:
    assert told in refused({**LEAST, **settings})


def test_the_examples_can_be_read() -> None:
    for path in sorted((Path(__file__).parents[2] / "examples").glob("*.yaml")):
        assert load_config(path).name


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("1/16", 0.0625), ("25%", 0.25), (0.5, 0.5), ("0.5", 0.5), ("100%", 1.0), ("1/1", 1.0), (1.0, 1.0),
        (20000, 20000), ("20000", 20000), ("20_000", 20000), (2e4, 20000), ("1e6", 10**6), (1, 1), ("1", 1),
    ],
)  # fmt: skip
def test_budgets_are_shares_or_absolute(text: Any, bound: float) -> None:
    found = BudgetConfig(params=text).params
    assert found == bound
    assert type(found) is type(bound)


def test_overrides_are_yaml_and_apply_in_order() -> None:
    texts = [
        "search.probes=100",
        "seed=1",
        "seed=2",
        "space.criteria=[l1, l2]",
        "budget.params=1/4",
        "training.flip=yes",
    ]
    config = parse_overrides({**LEAST}, texts)
    assert (config.search.probes, config.seed, config.space.criteria) == (100, 2, ("l1", "l2"))
    assert (config.budget.params, config.training.flip) == (0.25, True)


def test_overriding_a_configuration_leaves_the_rest() -> None:
    config = parse_config({**LEAST, "seed": 5, "budget": {"macs": "1/2"}})
    changed = override(config, ["search.trainings=20"])
    assert changed.search.trainings == 20
    assert changed == config.model_copy(update={"search": changed.search})
    assert override(config, []) is config


@pytest.mark.parametrize("text", ["seed", "=1", "a..b=1", ".a=1", "a.=1", ""])
def test_overrides_that_name_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must look like search\.probes=100"):
        parse_overrides({**LEAST}, [text])


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("serch", "did you mean search?"),
        ("search.probs", "did you mean search.probes?"),
        ("base_training.epoch", "did you mean base_training.epochs?"),
        ("budget.parameters", "did you mean budget.params?"),
        ("learning_rate", "did you mean base_training.learning_rate?"),
        ("search.epochs", "did you mean base_training.epochs?"),
        ("tracking.zzz", "known here: enabled, uri, experiment"),
    ],
)
def test_the_nearest_setting_is_named(path: str, wanted: str) -> None:
    section, _, name = path.partition(".")
    content = {**LEAST, section: {name: 1}} if name else {**LEAST, section: 1}
    assert refused(content) == f"configuration: {path}: no such setting; {wanted}"


def test_faults_are_told_without_pydantics_words() -> None:
    faults = refused(
        {"name": 3, "data": [], "seed": "x", "search": {"probes": 0.5}, "training": {"flip": "x", "epochs": 0}}
    )
    assert len(faults.splitlines()) == 6
    for word in ("Input", "input", "type=", "instance", "dictionary", "pydantic", "DataConfig"):
        assert word not in faults


def test_a_key_that_stands_twice_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: a\ndata:\n  source: digits\n  source: x\n")
    with pytest.raises(ConfigError, match="line 4, column 3: 'source' stands twice"):
        read_settings(path)
    path.write_text("base: &base {epochs: 3}\nname: a\ndata: {source: digits}\ntraining: {<<: *base, epochs: 4}\n")
    assert read_settings(path)["training"] == {"epochs": 4}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfname: a\ndata: {source: digits}\n")
    assert load_config(tmp_path / "c.yaml").name == "a"


def defaults(kind: type) -> dict[str, Any]:
    """Fields of a plain dataclass or of a section, with their defaults."""
    if issubclass(kind, BaseModel):
        return {name: field.default for name, field in kind.model_fields.items()}
    return {field.name: field.default for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(
    ("plain", "section", "more"),
    [
        (TrainSettings, TrainConfig, set()),
        (ClusterSettings, ClusterConfig, {"retries"}),
        (DataRequest, SearchConfig.model_fields["data"].annotation, {"seed", "cache"}),
    ],
)
def test_what_workers_are_told_mirrors_its_section(plain: type, section: type, more: set[str]) -> None:
    told, configured = defaults(plain), defaults(section)
    assert set(told) == set(configured) | more
    for name in set(configured) - {"source"}:
        assert told[name] == configured[name], name


def test_the_settings_of_probes_mirror_theirs() -> None:
    told, configured = defaults(ProbeSettings), defaults(ProbeConfig)
    assert all(configured[name] == value for name, value in told.items())
