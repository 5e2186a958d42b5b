from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from fraud_detection import data, drift, sample_data, tables

DAY = date(2026, 3, 1)


def month(drift: bool) -> pd.DataFrame:
    days = [DAY + timedelta(days=number) for number in range(30)]
    return pd.concat([sample_data.generate_day(day, 500, seed=1, drift=drift) for day in days])


@pytest.fixture(scope="module")
def calm() -> pd.DataFrame:
    return month(drift=False)


def test_the_same_arguments_give_the_same_day() -> None:
    first, second = (sample_data.generate_day(DAY, 100, seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert not first["amount"].equals(sample_data.generate_day(DAY, 100, seed=2)["amount"])
    assert not first["amount"].equals(sample_data.generate_day(DAY + timedelta(days=1), 100, seed=1)["amount"])


def test_about_two_percent_is_fraud(calm: pd.DataFrame) -> None:
    # 15000 rows: the standard deviation of the share is 0.0011
    assert calm["is_fraud"].mean() == pytest.approx(0.02, abs=0.005)


def test_labels_arrive_14_days_late(calm: pd.DataFrame) -> None:
    assert (calm["label_time"] - calm["event_time"] == timedelta(days=14)).all()


def test_events_fall_on_their_day() -> None:
    times = sample_data.generate_day(DAY, 500, seed=1)["event_time"]
    assert set(times.dt.date) == {DAY}


def test_drift_moves_the_amounts(calm: pd.DataFrame) -> None:
    edges = np.quantile(calm["amount"], np.linspace(0.1, 0.9, 9))

    def shares(rows: pd.DataFrame) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, rows["amount"]), minlength=10) / len(rows)

    assert drift.psi(shares(calm), shares(month(drift=True))) > 0.25


def test_the_task_fills_an_empty_table_once(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.transactions"
    sample_data.sample_data(table, DAY, days=3, rows_per_day=20, drift=False)
    filled = tables.read(spark, table)
    assert filled.count() == 60
    assert data.broken_rules(filled) == []

    sample_data.sample_data(table, DAY, days=3, rows_per_day=20, drift=False)
    assert tables.read(spark, table).count() == 60
    sample_data.sample_data(table, DAY + timedelta(days=2), days=3, rows_per_day=20, drift=False)
    assert tables.read(spark, table).count() == 100


def test_the_task_leaves_a_table_with_own_rows_alone(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.transactions"
    own = sample_data.generate_day(DAY, 5, seed=1).assign(transaction_id=list("abcde"))
    spark.createDataFrame(own).writeTo(tables.quote(table)).using("delta").create()

    sample_data.sample_data(table, DAY + timedelta(days=9), days=5, rows_per_day=20, drift=False)

    assert {row["transaction_id"] for row in tables.read(spark, table).collect()} == set("abcde")
