from typing import Any

import numpy as np
import pandas as pd
import pytest

from fraud_detection import config, monitor

LIMITS: dict[str, Any] = {"min_rows": 500, "max_null_rate": 0.02, "max_psi": 0.25, "min_average_precision": 0.5}
BASELINE: dict[str, Any] = {
    "amount": {"edges": [10.0], "shares": [0.5, 0.5, 0.0]},
    "country": {"values": ["DE"], "shares": [1.0, 0.0]},
}
AS_TRAINED = {"amount": np.array([0.5, 0.5, 0.0]), "country": np.array([1.0, 0.0])}


def alarms(rows: int = 500, **shares: list[float]) -> list[tuple[str, str]]:
    """Return (metric, feature) of the alarms for scored rows with these shares, else the shares of training."""
    actual = AS_TRAINED | {name: np.array(values) for name, values in shares.items()}
    findings = monitor.data_findings(rows, actual, BASELINE, LIMITS)
    return [(finding.metric, finding.feature) for finding in findings if finding.alarm]


def test_rows_like_those_of_training_raise_no_alarm() -> None:
    assert alarms() == []


def test_every_number_is_reported_with_its_limit() -> None:
    findings = monitor.data_findings(500, AS_TRAINED, BASELINE, LIMITS)
    assert [(finding.metric, finding.feature, finding.limit) for finding in findings] == [
        ("rows", "", 500),
        ("null_rate", "amount", 0.02),
        ("psi", "amount", 0.25),
        ("psi", "country", 0.25),
    ]


def test_too_few_rows_raise_an_alarm() -> None:
    assert alarms(rows=499) == [("rows", "")]


def test_nulls_raise_an_alarm_above_the_limit() -> None:
    assert ("null_rate", "amount") not in alarms(amount=[0.49, 0.49, 0.02])
    assert ("null_rate", "amount") in alarms(amount=[0.485, 0.485, 0.03])


def test_drift_raises_an_alarm_above_the_limit() -> None:
    # (s - 0.5) * ln(s / (1 - s)) twice: 0.17 for s = 0.7, 0.28 for s = 0.76
    assert alarms(amount=[0.7, 0.3, 0.0]) == []
    assert alarms(amount=[0.76, 0.24, 0.0]) == [("psi", "amount")]
    assert alarms(country=[0.5, 0.5]) == [("psi", "country")]


@pytest.fixture
def few_positives() -> int:
    """One positive less than monitoring needs to judge."""
    return config.load_config()["gate"]["min_holdout_positives"] - 1


def test_quality_is_not_judged_on_too_few_positives(few_positives: int) -> None:
    labels = pd.Series([1] * few_positives + [0] * 500)
    assert monitor.performance_findings(labels, pd.Series(0.0, labels.index), LIMITS) == []


@pytest.mark.parametrize(("hits", "alarm"), [(1.0, False), (0.0, True)], ids=["good", "useless"])
def test_quality_raises_an_alarm_below_the_limit(few_positives: int, hits: float, alarm: bool) -> None:
    labels = pd.Series([1] * (few_positives + 1) + [0] * 500)
    findings = monitor.performance_findings(labels, labels * hits, LIMITS)
    assert {finding.metric: finding.alarm for finding in findings} == {"average_precision": alarm, "roc_auc": False}
