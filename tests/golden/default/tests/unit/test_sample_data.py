from datetime import date, timedelta

import pytest
from pyspark.sql import SparkSession

from fraud_detection.platform import data, tables
from fraud_detection.problem import sample, source
from fraud_detection.tasks import sample_data

DAY = date(2026, 3, 1)


def test_the_task_fills_an_empty_table_once(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.source"
    for _ in range(2):
        sample_data.sample_data(table, DAY, days=3, rows_per_day=20, drift=False)
        filled = tables.read(spark, table)
        assert filled.count() == 60
        assert data.broken_rules(filled) == []


@pytest.mark.skipif(source.TIME is None, reason="a snapshot lacks no days")
def test_the_task_adds_the_days_that_a_table_lacks(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.source"
    sample_data.sample_data(table, DAY, days=3, rows_per_day=20, drift=False)
    sample_data.sample_data(table, DAY + timedelta(days=2), days=3, rows_per_day=20, drift=False)
    assert tables.read(spark, table).count() == 100


def test_the_task_leaves_a_table_with_own_rows_alone(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.source"
    own = sample.generate(DAY, DAY + timedelta(days=1), 5, seed=1).assign(**{source.KEY: list("abcde")})
    spark.createDataFrame(own).writeTo(tables.quote(table)).using("delta").create()

    sample_data.sample_data(table, DAY + timedelta(days=9), days=5, rows_per_day=20, drift=False)

    assert {row[source.KEY] for row in tables.read(spark, table).collect()} == set("abcde")
