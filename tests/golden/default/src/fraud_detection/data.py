"""The source table: its columns, the rules that its rows obey, and the labelled rows that a model learns from."""

from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from . import tables

# Column name and Spark type. A label counts from `label_time` on: fraud is reported days after the transaction.
COLUMNS = {
    "transaction_id": "string",
    "card_id": "string",
    "event_time": "timestamp",
    "amount": "double",
    "merchant_category": "string",
    "country": "string",
    "channel": "string",
    "is_fraud": "int",
    "label_time": "timestamp",
}
LABEL = "is_fraud"


@dataclass(frozen=True)
class Rule:
    """What every row obeys: `condition` is a SQL expression that is true for a good row."""

    column: str
    name: str
    condition: str


RULES = [
    *(
        Rule(column, "is never null", f"{column} IS NOT NULL")
        for column in ("transaction_id", "card_id", "event_time", "amount", "merchant_category", "country", "channel")
    ),
    Rule("amount", "lies between 0 and 100000", "amount BETWEEN 0 AND 100000"),
    Rule("country", "has two letters", "length(country) = 2"),
    Rule("is_fraud", "is 0, 1 or not yet known", "is_fraud IS NULL OR is_fraud IN (0, 1)"),
    Rule("label_time", "is not before the event", "label_time IS NULL OR label_time >= event_time"),
]


class DataCheckError(ValueError):
    """The source table breaks its rules."""


def broken_rules(frame: DataFrame) -> list[str]:
    """Return one line for each rule that rows of `frame` break; an empty list for good data."""
    types = dict(frame.dtypes)
    wrong_types = [
        f"column {column}: is {types.get(column, 'missing')}, must be {kind}"
        for column, kind in COLUMNS.items()
        if types.get(column) != kind
    ]
    if wrong_types:
        return wrong_types

    failures = [
        F.count(F.when(~F.coalesce(F.expr(rule.condition), F.lit(False)), 1)).alias(str(number))
        for number, rule in enumerate(RULES)
    ]
    totals = F.count("*").alias("rows"), F.countDistinct("transaction_id").alias("ids")
    counts = frame.agg(*totals, *failures).collect()[0]
    if counts["rows"] == 0:
        return ["the table: has no rows in this period"]
    problems = [
        f"column {rule.column}: {rule.name}, broken by {counts[str(number)]} of {counts['rows']} rows"
        for number, rule in enumerate(RULES)
        if counts[str(number)]
    ]
    if counts["ids"] < counts["rows"]:
        problems.append(f"column transaction_id: is unique, broken by {counts['rows'] - counts['ids']} rows")
    return problems


def labelled(
    spark: SparkSession, source_table: str, features_table: str, start: date, run_date: date, fraction: float = 1.0
) -> pd.DataFrame:
    """Return features joined with the labels that were known when `run_date` began.

    Args:
        start: first event day.
        fraction: share of the cards to keep, in (0, 1]. Whole cards, so that a card's history stays together.
    """
    labels = (
        tables.read(spark, source_table)
        .where(F.col(LABEL).isNotNull() & (F.col("label_time") < F.lit(run_date)))
        .select("transaction_id", LABEL)
    )
    features = tables.read(spark, features_table).where(tables.days("event_date", start, run_date))
    if fraction < 1.0:
        features = features.where(F.expr("pmod(xxhash64(card_id), 10000)") < fraction * 10000)
    return features.join(labels, "transaction_id").orderBy("event_time", "transaction_id").toPandas()


def split(rows: pd.DataFrame, holdout_days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (training rows, holdout rows): the holdout is the newest `holdout_days` labelled days.

    Splitting by time keeps the comparison honest: the champion was trained before those days, as the challenger is.

    Raises:
        ValueError: if either part would be empty.
    """
    if rows.empty:
        raise ValueError("No labelled row in the training period: run the features task first, or wait for labels.")
    holdout_start = max(rows["event_date"]) - timedelta(days=holdout_days - 1)
    training, holdout = rows[rows["event_date"] < holdout_start], rows[rows["event_date"] >= holdout_start]
    if training.empty:
        raise ValueError(f"All labelled rows fall in the holdout ({holdout_days} days): raise days.")
    return training, holdout
