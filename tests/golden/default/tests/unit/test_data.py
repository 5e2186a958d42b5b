from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from fraud_detection import check_data, data, features, tables

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
SCHEMA = ", ".join(f"{column} {kind}" for column, kind in data.COLUMNS.items())


def source(spark: SparkSession, *changes: dict[str, Any]) -> DataFrame:
    """Return good rows, each with its changes."""
    return spark.createDataFrame([tuple((GOOD | change).values()) for change in changes], SCHEMA)


def test_good_rows_break_no_rule(spark: SparkSession) -> None:
    unlabelled = {"transaction_id": "t2", "is_fraud": None, "label_time": None}
    assert data.broken_rules(source(spark, {}, unlabelled)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"amount": None}, "column amount: is never null, broken by 1 of 2 rows"),
        ({"amount": -0.01}, "column amount: lies between 0 and 100000, broken by 1 of 2 rows"),
        ({"card_id": None}, "column card_id: is never null, broken by 1 of 2 rows"),
        ({"country": "Germany"}, "column country: has two letters, broken by 1 of 2 rows"),
        ({"is_fraud": 2}, "column is_fraud: is 0, 1 or not yet known, broken by 1 of 2 rows"),
        (
            {"label_time": GOOD["event_time"] - timedelta(seconds=1)},
            "column label_time: is not before the event, broken by 1 of 2 rows",
        ),
        ({"transaction_id": "t1"}, "column transaction_id: is unique, broken by 1 rows"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broken_rule_is_named_with_its_column(spark: SparkSession, change: dict[str, Any], problem: str) -> None:
    assert problem in data.broken_rules(source(spark, {}, {"transaction_id": "t2"} | change))


def test_a_missing_column_and_a_wrong_type_are_named(spark: SparkSession) -> None:
    rows = source(spark, {})
    assert data.broken_rules(rows.drop("amount")) == ["column amount: is missing, must be double"]
    wrong = rows.withColumn("amount", rows["amount"].cast("string"))
    assert data.broken_rules(wrong) == ["column amount: is string, must be double"]


def test_an_empty_period_is_a_problem(spark: SparkSession) -> None:
    assert data.broken_rules(source(spark, {}).where("false")) == ["the table: has no rows in this period"]


def test_check_data_looks_at_its_period_only(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.transactions"
    long_ago = {"transaction_id": "t0", "event_time": datetime(2026, 1, 1, tzinfo=UTC), "amount": -1.0}
    source(spark, long_ago, {}).writeTo(tables.quote(table)).using("delta").create()

    check_data.check_data(table, date(2026, 3, 2), days=1)
    with pytest.raises(data.DataCheckError, match=f"{table} is not fit for use:\n  - column amount: lies between"):
        check_data.check_data(table, date(2026, 3, 2), days=90)


def test_training_does_not_see_labels_that_arrive_on_or_after_the_run_date(spark: SparkSession, schema: str) -> None:
    run_date, table = date(2026, 3, 10), f"{schema}.transactions"
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    rows = source(
        spark,
        {"transaction_id": "before", "label_time": midnight - timedelta(seconds=1)},
        {"transaction_id": "at midnight", "label_time": midnight},
        {"transaction_id": "after", "label_time": midnight + timedelta(days=3)},
        {"transaction_id": "never", "is_fraud": None, "label_time": None},
    )
    rows.writeTo(tables.quote(table)).using("delta").create()
    features.features(table, schema, run_date, days=30)

    known = data.labelled(spark, table, f"{schema}.features", date(2026, 2, 8), run_date)

    assert known["transaction_id"].tolist() == ["before"]
    assert {data.LABEL, *features.FEATURES} <= set(known.columns)


def test_a_fraction_keeps_whole_cards(spark: SparkSession, schema: str) -> None:
    run_date, table = date(2026, 4, 1), f"{schema}.transactions"
    cards = [{"transaction_id": f"{card}-{n}", "card_id": f"c{card}"} for card in range(200) for n in range(2)]
    source(spark, *cards).writeTo(tables.quote(table)).using("delta").create()
    features.features(table, schema, run_date, days=60)

    kept = data.labelled(spark, table, f"{schema}.features", date(2026, 2, 1), run_date, fraction=0.3)

    rows_per_card = kept.groupby("card_id").size()
    assert (rows_per_card == 2).all()
    assert 30 < len(rows_per_card) < 90  # 60 of 200 cards, and four standard deviations


def test_split_keeps_the_newest_days_from_training() -> None:
    days = [date(2026, 3, 1) + timedelta(days=number) for number in range(10)]
    rows = pd.DataFrame({"event_date": days[::-1]})

    training, holdout = data.split(rows, holdout_days=3)

    assert sorted(holdout["event_date"]) == days[7:]
    assert sorted(training["event_date"]) == days[:7]


def test_split_refuses_an_empty_part() -> None:
    rows = pd.DataFrame({"event_date": [date(2026, 3, 1), date(2026, 3, 3)]})
    with pytest.raises(ValueError, match="No labelled row"):
        data.split(rows.head(0), holdout_days=3)
    with pytest.raises(ValueError, match="All labelled rows fall in the holdout"):
        data.split(rows, holdout_days=3)
