from importlib.resources import files
from typing import Any

import pytest
import yaml

from fraud_detection import config


def changed(section: str, **settings: Any) -> str:
    """Return the packaged config.yml with these settings changed."""
    packaged = yaml.safe_load(files(config.__package__).joinpath("config.yml").read_text(encoding="utf-8"))
    packaged[section] |= settings
    return yaml.safe_dump(packaged)


def test_the_packaged_configuration_is_valid() -> None:
    assert config.load_config().keys() == {"training", "gate", "monitoring"}
    assert config.parse_config(changed("training", holdout_days=7))["training"]["holdout_days"] == 7


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        ("training", {"holdout_days": 0}, "training.holdout_days: 0 is less than the minimum of 1"),
        ("gate", {"minimum": {"average_precision": "high"}}, "gate.minimum.average_precision: 'high' is not of type"),
        ("gate", {"minimum": {"accuracy": 0.9}}, "gate.minimum: 'accuracy' is not one of"),
        ("gate", {"minimum": {}}, "gate.minimum: "),
        ("monitoring", {"max_null_rate": 2}, "monitoring.max_null_rate: 2 is greater than the maximum of 1"),
        ("monitoring", {"max_pis": 0.2}, "monitoring: .*'max_pis' was unexpected"),
    ],
)
def test_a_wrong_setting_is_named(section: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(config.ConfigError, match=message):
        config.parse_config(changed(section, **settings))


def test_a_missing_section_is_named() -> None:
    with pytest.raises(config.ConfigError, match="the file: 'training' is a required property"):
        config.parse_config("gate: {}")
    with pytest.raises(config.ConfigError, match="the file: None is not of type 'object'"):
        config.parse_config("")
