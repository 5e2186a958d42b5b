"""The thresholds that the team sets, read from `config.yml` and checked against `config.schema.json`."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import yaml


class ConfigError(ValueError):
    """`config.yml` does not follow its schema."""


def parse_config(text: str) -> dict[str, Any]:
    """Return the configuration in `text` (YAML) as nested dictionaries.

    Raises:
        ConfigError: names the setting that breaks the schema and the rule that it breaks.
    """
    schema = json.loads(files(__package__).joinpath("config.schema.json").read_text(encoding="utf-8"))
    config = yaml.safe_load(text)
    try:
        jsonschema.validate(config, schema)
    except jsonschema.ValidationError as error:
        setting = ".".join(map(str, error.absolute_path)) or "the file"
        raise ConfigError(f"config.yml: {setting}: {error.message}.") from None
    return config


@cache
def load_config() -> dict[str, Any]:
    """Return the configuration that was packaged with this code."""
    return parse_config(files(__package__).joinpath("config.yml").read_text(encoding="utf-8"))
