from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from {{ cookiecutter.package_name }}.platform import data

GOOD: dict[str, Any] = {
    "parcel_id": "p1",
    "sender_id": "s1",
    "handed_in_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
    "weight": 2.5,
    "distance": 120.0,
    "shipping": "express",
    "carrier": "red",
    "destination": "city",
    "delivery_hours": 26.5,
    "confirmed_at": datetime(2026, 3, 8, 12, tzinfo=UTC),
}


def rows(spark: SparkSession, *changes: dict[str, Any]) -> DataFrame:
    """Return good rows, each with its changes."""
    return spark.createDataFrame([tuple((GOOD | change).values()) for change in changes], data.SCHEMA)


def test_a_row_without_a_label_is_good(spark: SparkSession) -> None:
    unlabelled = {"parcel_id": "p2", "delivery_hours": None, "confirmed_at": None}
    assert data.broken_rules(rows(spark, {}, unlabelled)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"carrier": None}, "carrier is never null"),
        ({"weight": -0.01}, "weight lies between 0 and 100"),
        ({"distance": None}, "distance lies between 0 and 5000"),
        ({"delivery_hours": 169.0}, "delivery_hours is not yet known or lies between 0 and 168"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_rule_is_named(spark: SparkSession, change: dict[str, Any], problem: str) -> None:
    found = data.broken_rules(rows(spark, {}, {"parcel_id": "p2"} | change))
    assert f"{problem}: broken by 1 of 2 rows" in found
