"""Delta tables: rows are replaced as a whole, and a table keeps what it is when its columns change."""

from typing import Any

import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from fraud_detection.platform import tables


def on(day: str) -> Column:
    return F.col("day") == day


def rows(
    spark: SparkSession, *values: tuple[Any, ...], columns: str = "day string, id string, amount double"
) -> DataFrame:
    return spark.createDataFrame(list(values), columns)


def content(spark: SparkSession, table: str) -> list[dict[str, Any]]:
    return [row.asDict() for row in tables.read(spark, table).orderBy("id").collect()]


def test_a_name_does_not_go_on_as_sql(spark: SparkSession, schema: str) -> None:
    """Whoever chooses a name chooses no statement with it."""
    assert tables.quote("a-b.c.d") == "`a-b`.`c`.`d`"
    assert tables.quote("a.b.c` d; DROP TABLE `e") == "`a`.`b`.`c`` d; DROP TABLE ``e`"
    tables.replace(rows(spark, ("mon", "a", 1.0)), f"{schema}.facts", on("mon"))
    assert not tables.exists(spark, f"{schema}.facts` -- ")


def test_rows_are_replaced_where_the_condition_holds(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.facts"
    tables.replace(rows(spark, ("mon", "a", 1.0)), table, on("mon"))
    for _ in range(2):
        tables.replace(rows(spark, ("tue", "b", 2.0), ("tue", "c", 3.0)), table, on("tue"))
    tables.replace(rows(spark, ("tue", "c", 4.0)), table, on("tue"))
    assert [(row["id"], row["amount"]) for row in content(spark, table)] == [("a", 1.0), ("c", 4.0)]


def test_a_new_column_is_added_and_a_missing_one_stays(spark: SparkSession, schema: str) -> None:
    table = f"{schema}.facts"
    tables.replace(rows(spark, ("mon", "a", 1.0)), table, on("mon"))
    tables.replace(rows(spark, ("tue", "b", "eur"), columns="day string, id string, currency string"), table, on("tue"))
    assert content(spark, table) == [
        {"day": "mon", "id": "a", "amount": 1.0, "currency": None},
        {"day": "tue", "id": "b", "amount": None, "currency": "eur"},
    ]


def test_a_key_becomes_the_primary_key_once(spark: SparkSession, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sail has no primary keys, so this looks at what Databricks is told."""
    told: list[str] = []
    ask = spark.sql

    def listen(query: str) -> DataFrame:
        told.append(query)
        return ask(query)

    monkeypatch.setattr(spark, "sql", listen)
    for day in ("mon", "tue"):
        tables.replace(rows(spark, (day, day, 1.0)), f"{schema}.facts", on(day), key="id")
    (statement,) = [query for query in told if query.startswith("CREATE TABLE")]
    catalog, name = schema.split(".")
    assert statement == (
        f"CREATE TABLE `{catalog}`.`{name}`.`facts` (`day` string, `id` string NOT NULL, `amount` double, "
        "CONSTRAINT `facts_pk` PRIMARY KEY (`id`)) USING delta"
    )
    assert [row["id"] for row in content(spark, f"{schema}.facts")] == ["mon", "tue"]


def test_a_row_is_added_once(spark: SparkSession, schema: str) -> None:
    for _ in range(2):
        tables.add_once(rows(spark, ("mon", "a", 1.0)), f"{schema}.log", on("mon"))
    tables.add_once(rows(spark, ("tue", "b", 1.0)), f"{schema}.log", on("tue"))
    assert [row["id"] for row in content(spark, f"{schema}.log")] == ["a", "b"]
