"""What a model sees of a row. Training and scoring read one table, so they cannot differ."""

from datetime import timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

NUMERIC = ["amount", "amount_to_card_mean", "card_transactions_1d", "hour_of_day", "is_weekend"]
CATEGORICAL = ["merchant_category", "country", "channel"]
FEATURES = NUMERIC + CATEGORICAL

# How far back the features of one row look.
LOOKBACK = timedelta(days=7)


def compute_features(rows: DataFrame) -> DataFrame:
    """Return `rows` with FEATURES as columns; the history of each card must be among them.

    Returns:
        NUMERIC as doubles (amounts in the currency of the source), CATEGORICAL as strings.
    """
    seconds = F.col("event_time").cast("long")
    card = Window.partitionBy("card_id").orderBy(seconds)
    week_before = card.rangeBetween(-int(LOOKBACK.total_seconds()), -1)
    day_before = card.rangeBetween(-24 * 60 * 60, -1)
    # A card without history is compared with itself; the floor keeps free transactions from dividing by zero.
    card_mean = F.greatest(F.coalesce(F.avg("amount").over(week_before), F.col("amount")), F.lit(0.01))
    return rows.withColumns(
        {
            "amount_to_card_mean": F.col("amount") / card_mean,
            "card_transactions_1d": F.count("transaction_id").over(day_before).cast("double"),
            "hour_of_day": F.hour("event_time").cast("double"),
            "is_weekend": F.dayofweek("event_time").isin(1, 7).cast("double"),
        }
    )
