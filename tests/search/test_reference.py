"""The written reference of settings is the one that the models give."""

import re
from pathlib import Path

from search.config import ProbeConfig, SearchConfig, SpaceConfig
from search.reference import reference
from spaces.criteria import CRITERIA
from workers.proxies import PROXIES


def test_the_written_reference_is_up_to_date() -> None:
    written = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert written.read_text(encoding="utf-8") == reference(), "run: python -m search.reference > docs/configuration.md"


def test_every_setting_is_described() -> None:
    for name, field in SearchConfig.model_fields.items():
        for inner, setting in getattr(field.annotation, "model_fields", {}).items():
            assert setting.description, f"{name}.{inner}"


def test_every_criterion_and_proxy_is_named() -> None:
    for known, described in (
        (CRITERIA, SpaceConfig.model_fields["criteria"].description),
        (PROXIES, ProbeConfig.model_fields["proxies"].description),
    ):
        assert set(known) <= set(re.findall(r"\w+", described or ""))
