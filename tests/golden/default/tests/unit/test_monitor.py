from typing import Any

import numpy as np
import pandas as pd
import pytest

from fraud_detection.platform import evaluate
from fraud_detection.platform.config import Monitoring
from fraud_detection.problem.model import PREDICTION
from fraud_detection.problem.source import LABEL
from fraud_detection.tasks import monitor

LIMITS = Monitoring.model_construct(
    min_rows=500,
    max_null_rate=0.02,
    max_psi=0.25,
    min_labels={"rows": 20},
    minimum={"precision": 0.5},
    maximum={"error": 0.2},
)
BASELINE: dict[str, Any] = {
    "number": {"edges": [10.0], "shares": [0.5, 0.5, 0.0]},
    "text": {"values": ["x"], "shares": [1.0, 0.0]},
}
AS_TRAINED = {"number": np.array([0.5, 0.5, 0.0]), "text": np.array([1.0, 0.0])}


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
        ("null_rate", "number", 0.02),
        ("psi", "number", 0.25),
        ("psi", "text", 0.25),
    ]


def test_too_few_rows_raise_an_alarm() -> None:
    assert alarms(rows=499) == [("rows", "")]


def test_nulls_raise_an_alarm_above_the_limit() -> None:
    assert ("null_rate", "number") not in alarms(number=[0.49, 0.49, 0.02])
    assert ("null_rate", "number") in alarms(number=[0.485, 0.485, 0.03])


def test_drift_raises_an_alarm_above_the_limit() -> None:
    # (s - 0.5) * ln(s / (1 - s)) twice: 0.17 for s = 0.7, 0.28 for s = 0.76
    assert alarms(number=[0.7, 0.3, 0.0]) == []
    assert alarms(number=[0.76, 0.24, 0.0]) == [("psi", "number")]
    assert alarms(text=[0.5, 0.5]) == [("psi", "text")]


def performance(monkeypatch: pytest.MonkeyPatch, rows: int, **quality: float) -> dict[str, bool]:
    """Return which metrics raise an alarm for this quality of so many labelled predictions."""
    monkeypatch.setattr(monitor.metrics, "quality", lambda labels, prediction: quality)
    monkeypatch.setattr(evaluate.metrics, "counts", lambda labels: {})
    labelled = pd.DataFrame(0.0, index=range(rows), columns=[LABEL, *PREDICTION])
    return {finding.metric: finding.alarm for finding in monitor.performance_findings(labelled, LIMITS)}


def test_quality_is_not_judged_on_too_few_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert performance(monkeypatch, 19, precision=0.0) == {}


@pytest.mark.parametrize(("precision", "error", "alarm"), [(0.5, 0.2, False), (0.49, 0.21, True)])
def test_quality_raises_an_alarm_beyond_its_limits(
    monkeypatch: pytest.MonkeyPatch, precision: float, error: float, alarm: bool
) -> None:
    found = performance(monkeypatch, 20, precision=precision, error=error, unlimited=0.0)
    assert found == {"precision": alarm, "error": alarm, "unlimited": False}
