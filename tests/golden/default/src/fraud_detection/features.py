"""Task `features`: what a model sees of a transaction. Training and scoring read one table, so they cannot differ."""

from datetime import date, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from . import tables
from .task import run

NUMERIC = ["amount", "amount_to_card_mean", "card_transactions_1d", "hour_of_day", "is_weekend"]
CATEGORICAL = ["merchant_category", "country", "channel"]
FEATURES = NUMERIC + CATEGORICAL

# How far back the features of one transaction look.
LOOKBACK = timedelta(days=7)


def compute_features(transactions: DataFrame) -> DataFrame:
    """Return one row of features per transaction; the history of its card must be among `transactions`.

    Returns:
        `transaction_id`, `card_id`, `event_time`, `event_date` (date) and FEATURES: NUMERIC as doubles
        (amounts in the currency of the source), CATEGORICAL as strings.
    """
    seconds = F.col("event_time").cast("long")
    card = Window.partitionBy("card_id").orderBy(seconds)
    week_before = card.rangeBetween(-int(LOOKBACK.total_seconds()), -1)
    day_before = card.rangeBetween(-24 * 60 * 60, -1)
    # A card without history is compared with itself; the floor keeps free transactions from dividing by zero.
    card_mean = F.greatest(F.coalesce(F.avg("amount").over(week_before), F.col("amount")), F.lit(0.01))
    return transactions.select(
        "transaction_id",
        "card_id",
        "event_time",
        F.to_date("event_time").alias("event_date"),
        "amount",
        (F.col("amount") / card_mean).alias("amount_to_card_mean"),
        F.count("transaction_id").over(day_before).cast("double").alias("card_transactions_1d"),
        F.hour("event_time").cast("double").alias("hour_of_day"),
        F.dayofweek("event_time").isin(1, 7).cast("double").alias("is_weekend"),
        *CATEGORICAL,
    )


def features(source_table: str, schema: str, run_date: date, days: int) -> None:
    """Write the features of the `days` days before `run_date` to `<schema>.features`, one row per `transaction_id`."""
    start = run_date - timedelta(days=days)
    transactions = tables.read(tables.spark_session(), source_table)
    history = transactions.where(tables.days("event_time", start - LOOKBACK, run_date))
    period = tables.days("event_date", start, run_date)
    # With a primary key, Unity Catalog offers the table as a feature table.
    tables.replace(compute_features(history).where(period), f"{schema}.features", period, key="transaction_id")


def main() -> None:
    run(features)
