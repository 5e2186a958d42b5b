from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from {{ cookiecutter.package_name }}.platform import data

GOOD: dict[str, Any] = {
    "alarm_id": "a1",
    "pump_id": "p1",
    "alarm_time": datetime(2026, 3, 1, 12, tzinfo=UTC),
    "pump_model": "heavy",
    "site": "mine",
    "rotation": 1450.0,
    "vibration": 2.5,
    "temperature": 55.0,
    "pressure": 5.0,
    "power": 9.0,
    "fault": "leak",
    "inspection_time": datetime(2026, 3, 8, 12, tzinfo=UTC),
}


def rows(spark: SparkSession, *changes: dict[str, Any]) -> DataFrame:
    """Return good rows, each with its changes."""
    return spark.createDataFrame([tuple((GOOD | change).values()) for change in changes], data.SCHEMA)


def test_a_row_without_a_label_is_good(spark: SparkSession) -> None:
    unlabelled = {"alarm_id": "a2", "fault": None, "inspection_time": None}
    assert data.broken_rules(rows(spark, {}, unlabelled)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pump_model": None}, "pump_model is never null"),
        ({"rotation": -1.0}, "rotation lies between 0 and 5000"),
        ({"pressure": None}, "pressure lies between 0 and 50"),
        ({"fault": "rust"}, "fault is one of bearing, blockage, leak, none, or not yet known"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_rule_is_named(spark: SparkSession, change: dict[str, Any], problem: str) -> None:
    found = data.broken_rules(rows(spark, {}, {"alarm_id": "a2"} | change))
    assert f"{problem}: broken by 1 of 2 rows" in found
