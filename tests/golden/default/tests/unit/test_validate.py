from typing import Any

import pytest

from fraud_detection import validate

GATE: dict[str, Any] = {
    "min_holdout_rows": 1000,
    "min_holdout_positives": 20,
    "minimum": {"average_precision": 0.3},
    "maximum": {"brier_score": 0.02},
    "max_regression": {"average_precision": 0.02},
}
GOOD = {"rows": 5000.0, "positives": 100.0, "average_precision": 0.5, "brier_score": 0.01}


def refused(changes: dict[str, float], champion: dict[str, float] | None = None) -> list[str]:
    """Return what the gate says of a good model with these changes."""
    return validate.objections(GOOD | changes, champion, GATE)


def test_the_first_model_needs_the_thresholds_only() -> None:
    assert refused({}) == []
    assert refused({"average_precision": 0.3, "brier_score": 0.02, "rows": 1000, "positives": 20}) == []


def test_a_better_model_passes() -> None:
    assert refused({"average_precision": 0.6}, champion=GOOD) == []


def test_a_model_within_the_tolerance_passes() -> None:
    assert refused({"average_precision": 0.49}, champion=GOOD) == []


def test_a_worse_model_is_refused() -> None:
    (reason,) = refused({"average_precision": 0.45}, champion=GOOD)
    assert reason == "average_precision is 0.4500, more than 0.02 below the champion's 0.5000"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 999.0}, "holdout has 999 rows, needs 1000"),
        ({"positives": 19.0}, "holdout has 19 positives, needs 20"),
        ({"average_precision": 0.29}, "average_precision is 0.2900, must be at least 0.3"),
        ({"brier_score": 0.021}, "brier_score is 0.0210, must be at most 0.02"),
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
        assert all(metric in reason for reason in reasons)


def test_every_objection_is_listed() -> None:
    assert len(refused({"average_precision": 0.1, "brier_score": 0.5, "positives": 3.0}, champion=GOOD)) == 4
