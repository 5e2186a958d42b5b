from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model, infer_signature
from pyspark.sql import SparkSession

from {{ cookiecutter.package_name }}.platform.config import Gate
from {{ cookiecutter.package_name }}.problem.features import FEATURES
from {{ cookiecutter.package_name }}.problem.source import LABEL
from {{ cookiecutter.package_name }}.tasks import validate

GATE = Gate.model_construct(
    min_labels={"rows": 1000, "positives": 20},
    minimum={"precision": 0.3},
    maximum={"error": 0.02},
    max_regression={"precision": 0.02, "error": 0.005},
)
GOOD = {"rows": 5000.0, "positives": 100.0, "precision": 0.5, "error": 0.01}


@pytest.fixture(autouse=True)
def directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "HIGHER_IS_BETTER", {"precision": True, "error": False})


def refused(changes: dict[str, float], champion: dict[str, float] | None = None) -> list[str]:
    """Return what the gate says of a good model with these changes."""
    return validate.objections(GOOD | changes, champion, GATE)


def test_the_first_model_needs_the_thresholds_only() -> None:
    assert refused({}) == []
    assert refused({"precision": 0.3, "error": 0.02, "rows": 1000, "positives": 20}) == []


def test_a_better_model_passes() -> None:
    assert refused({"precision": 0.6}, champion=GOOD) == []


def test_a_model_within_the_tolerance_passes() -> None:
    assert refused({"precision": 0.49, "error": 0.014}, champion=GOOD) == []


def test_a_worse_model_is_refused() -> None:
    assert refused({"precision": 0.45, "error": 0.016}, champion=GOOD) == [
        "precision is 0.4500, must not be more than 0.02 below the champion's 0.5000",
        "error is 0.0160, must not be more than 0.005 above the champion's 0.0100",
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 999.0}, "holdout has 999 rows, needs 1000"),
        ({"positives": 19.0}, "holdout has 19 positives, needs 20"),
        ({"precision": 0.29}, "precision is 0.2900, must be at least 0.3"),
        ({"error": 0.021}, "error is 0.0210, must be at most 0.02"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_missed_threshold_is_named(changes: dict[str, float], reason: str) -> None:
    assert refused(changes) == [reason]


@pytest.mark.parametrize("metric", GOOD)
def test_a_missing_or_undefined_metric_is_refused(metric: str) -> None:
    without = {name: value for name, value in GOOD.items() if name != metric}
    for metrics in (without, without | {metric: float("nan")}):
        reasons = validate.objections(metrics, GOOD, GATE)
        assert reasons
        assert all(metric in reason and "not known" in reason for reason in reasons)


def test_every_objection_is_listed() -> None:
    assert len(refused({"precision": 0.1, "error": 0.5, "positives": 3.0}, champion=GOOD)) == 5


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The columns that a model is given; it scores nothing."""
    columns: list[str] = []

    def score(_spark: SparkSession, _folder: Path, inputs: pd.DataFrame) -> tuple[np.ndarray, float]:
        columns.extend(inputs.columns)
        raise RuntimeError("scored")

    monkeypatch.setattr(validate.sandbox, "score", score)
    return columns


def accepted(folder: Path, inputs: list[str]) -> list[str]:
    """Return what is objected to a model that has these inputs."""
    rows = pd.DataFrame(0.0, index=[0], columns=[*validate.FEATURES, LABEL])
    signature = infer_signature(pd.DataFrame(0.0, index=[0], columns=inputs), np.array([0.5]))
    Model(signature=signature).save(str(folder / "MLmodel"))
    _, reasons = validate.acceptance(None, folder, "1", rows)  # type: ignore[arg-type]
    return reasons


def test_a_champion_is_given_the_features_that_it_knows(
    tmp_path: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "FEATURES", [*FEATURES, "added since"])
    assert accepted(tmp_path, FEATURES) == ["the model does not load or score here: RuntimeError: scored"]
    assert given == FEATURES


@pytest.mark.parametrize("name", ["removed since", LABEL])
def test_a_model_that_needs_more_than_features_is_refused(tmp_path: Path, given: list[str], name: str) -> None:
    assert accepted(tmp_path, [*FEATURES, name]) == [f"the features lack the model's inputs {name}"]
    assert given == []
