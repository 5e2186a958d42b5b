from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from {{ cookiecutter.package_name }}.platform import data

GOOD: dict[str, Any] = {
    "transaction_id": "t1",
    "card_id": "c1",
    "event_time": datetime(2026, 3, 1, 12, tzinfo=UTC),
    "amount": 12.5,
    "merchant_category": "grocery",
    "country": "DE",
    "channel": "chip",
    "is_fraud": 0,
    "label_time": datetime(2026, 3, 15, 12, tzinfo=UTC),
}


def rows(spark: SparkSession, *changes: dict[str, Any]) -> DataFrame:
    """Return good rows, each with its changes."""
    return spark.createDataFrame([tuple((GOOD | change).values()) for change in changes], data.SCHEMA)


def test_a_row_without_a_label_is_good(spark: SparkSession) -> None:
    unlabelled = {"transaction_id": "t2", "is_fraud": None, "label_time": None}
    assert data.broken_rules(rows(spark, {}, unlabelled)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"amount": None}, "amount is never null"),
        ({"amount": -0.01}, "amount lies between 0 and 100000"),
        ({"card_id": None}, "card_id is never null"),
        ({"country": "Germany"}, "country has two letters"),
        ({"is_fraud": 2}, "is_fraud is 0, 1 or not yet known"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_rule_is_named(spark: SparkSession, change: dict[str, Any], problem: str) -> None:
    found = data.broken_rules(rows(spark, {}, {"transaction_id": "t2"} | change))
    assert f"{problem}: broken by 1 of 2 rows" in found
