"""The thresholds that the team sets, read from `problem/config.yml` and checked."""

from functools import cache
from importlib.resources import files
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..problem import metrics, source

Days = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rows = Annotated[int, Field(ge=1)]

# One machine with a few GB of memory holds this many rows.
MAX_ROWS = 1_000_000


class ConfigError(ValueError):
    """`config.yml` is not as it must be."""


def known_metrics(limits: dict[str, float]) -> dict[str, float]:
    """Refuse a limit of something that nobody measures."""
    known = [*metrics.HIGHER_IS_BETTER, "milliseconds_per_1000_rows"]
    if unknown := sorted(limits.keys() - set(known)):
        raise ValueError(f"{unknown[0]} is not measured: use one of {', '.join(known)}")
    return limits


def compared_metrics(limits: dict[str, float]) -> dict[str, float]:
    """Refuse a comparison by something that has no better and worse."""
    if unknown := sorted(limits.keys() - metrics.HIGHER_IS_BETTER.keys()):
        raise ValueError(f"{unknown[0]} is not compared: use one of {', '.join(metrics.HIGHER_IS_BETTER)}")
    return limits


Limits = Annotated[dict[str, float], AfterValidator(known_metrics)]
Counts = dict[str, Annotated[int, Field(ge=1)]]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(Section):
    trials: Annotated[int, Field(ge=0)] = 0  # how many parameters are tried before training; 0: none
    holdout_days: Days | None = None  # where rows have a time
    holdout_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None  # where they have none
    max_rows: Rows = MAX_ROWS

    @model_validator(mode="after")
    def one_holdout(self) -> Self:
        wanted, other = ("holdout_days", "holdout_fraction") if source.TIME else ("holdout_fraction", "holdout_days")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"it needs {wanted} and no {other}, because TIME in problem/source.py is {source.TIME}")
        return self


class Gate(Section):
    max_rows: Rows = MAX_ROWS
    min_labels: Counts
    minimum: Limits
    maximum: Limits
    max_regression: Annotated[dict[str, float], AfterValidator(compared_metrics)]


class Monitoring(Section):
    window_days: Days
    min_rows: Rows
    max_rows: Rows = MAX_ROWS
    max_null_rate: Share
    max_psi: Annotated[float, Field(gt=0)]
    retrain_after_days: Days
    min_labels: Counts
    minimum: Limits
    maximum: Limits


class Config(Section):
    training: Training
    gate: Gate
    monitoring: Monitoring


def parse_config(text: str) -> Config:
    """Return the configuration in `text` (YAML).

    Raises:
        ConfigError: names the setting, and what is wrong with it.
    """
    try:
        return Config.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first, *_ = error.errors()
        setting = ".".join(map(str, first["loc"])) or "the file"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"problem/config.yml: {setting}: {message}.") from None


@cache
def load_config() -> Config:
    """Return the configuration that was packaged with this code."""
    packaged = files(__package__).joinpath("..", "problem", "config.yml")
    return parse_config(packaged.read_text(encoding="utf-8"))
