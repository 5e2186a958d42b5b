from pathlib import Path
from typing import Any

import pytest
import yaml

from fraud_detection.platform import config
from fraud_detection.problem import source
from fraud_detection.problem.metrics import HIGHER_IS_BETTER

PACKAGED = Path(source.__file__).with_name("config.yml").read_text(encoding="utf-8")
METRIC = next(iter(HIGHER_IS_BETTER))


def changed(section: str, **settings: Any) -> str:
    """Return the packaged config.yml with these settings changed."""
    packaged = yaml.safe_load(PACKAGED)
    packaged[section] |= settings
    return yaml.safe_dump(packaged)


def test_the_packaged_configuration_is_valid() -> None:
    assert config.load_config() == config.parse_config(PACKAGED)
    assert config.parse_config(changed("monitoring", window_days=3)).monitoring.window_days == 3


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        ("gate", {"minimum": {METRIC: "high"}}, f"gate.minimum.{METRIC}: Input should be a valid number"),
        ("gate", {"minimum": {"luck": 0.9}}, "gate.minimum: luck is not measured: use one of "),
        ("gate", {"max_regression": {"milliseconds_per_1000_rows": 1}}, "gate.max_regression: .* is not compared"),
        ("gate", {"min_labels": {"rows": 0}}, "gate.min_labels.rows: Input should be greater than or equal to 1"),
        ("training", {"max_rows": 0}, "training.max_rows: Input should be greater than or equal to 1"),
        ("monitoring", {"max_null_rate": 2}, "monitoring.max_null_rate: Input should be less than or equal to 1"),
        ("monitoring", {"max_pis": 0.2}, "monitoring.max_pis: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_setting_is_named(section: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(config.ConfigError, match=message):
        config.parse_config(changed(section, **settings))


@pytest.mark.parametrize(("time", "wrong"), [("when", "holdout_fraction"), (None, "holdout_days")])
def test_the_holdout_is_one_of_days_or_of_rows(time: str | None, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "TIME", time)
    text = changed("training", holdout_days=None, holdout_fraction=None)
    given = yaml.safe_load(text)
    given["training"][wrong] = 14 if wrong == "holdout_days" else 0.2
    with pytest.raises(config.ConfigError, match=f"training: it needs .* no {wrong}, because TIME in .* is {time}"):
        config.parse_config(yaml.safe_dump(given))


def test_a_missing_section_is_named() -> None:
    with pytest.raises(config.ConfigError, match=r"problem/config\.yml: training: Field required"):
        config.parse_config("gate: {}")
    with pytest.raises(config.ConfigError, match="the file: Input should be a valid dictionary"):
        config.parse_config("")
